"""The same job in FastAPI's thread pool, without a queue: python -m bench.fastapi_server PORT SOURCE"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request, Response
from matte_inference.replica.stages import with_cpu_seconds
from starlette.concurrency import run_in_threadpool

from bench.job import run, segmenter

app = FastAPI()
MODEL = segmenter(sys.argv[2])


@app.post("/predict")
async def predict(request: Request) -> Response:
    body = await request.body()
    picture, cpu = await run_in_threadpool(with_cpu_seconds, run, MODEL, body)
    return Response(picture, media_type="image/png", headers={"Server-Timing": f"cpu;dur={cpu * 1e3:.1f}"})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)

"""Who gets which version: rules and keys that stick; and what a rollout has shown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from integration.frontend import rollout_evidence
from integration.frontend.conftest import Platform, photo
from integration.frontend.processes import FrontendProcess, ready, running, wait_until
from integration.frontend.test_rest import problem
from matte_cli.main import app
from matte_core.contracts.job import JobSpec
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from typer.testing import CliRunner

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}
SPLIT = "/models/split/predict"


def version(client: httpx.Client, jpeg: bytes, path: str = SPLIT, **headers: str) -> str:
    answer = client.post(path, content=jpeg, headers=JPEG | {k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-model-version"]


class TestRules:
    def test_a_header_pins(self, client: httpx.Client, jpeg: bytes) -> None:
        assert {version(client, jpeg, X_Beta="yes") for _ in range(6)} == {"2.0.0"}
        assert {version(client, jpeg, X_Team="a") for _ in range(6)} == {"1.1.0"}, "nobody is known by name yet"

    def test_another_value_is_answered_by_the_split(self, client: httpx.Client, jpeg: bytes) -> None:
        assert {version(client, jpeg, X_Beta="no") for _ in range(30)} == {"1.0.0", "1.1.0"}

    def test_a_version_that_is_asked_for_wins(self, client: httpx.Client, jpeg: bytes) -> None:
        assert version(client, jpeg, f"{SPLIT}?version=1.0.0", X_Beta="yes") == "1.0.0"
        assert version(client, jpeg, f"{SPLIT}?version=2", X_Team="a") == "2.0.0"

    def test_a_major_keeps_the_split_within_it(self, client: httpx.Client, jpeg: bytes) -> None:
        assert {version(client, jpeg, f"{SPLIT}?version=1") for _ in range(30)} == {"1.0.0", "1.1.0"}

    def test_a_rule_wins_over_a_key(self, client: httpx.Client, jpeg: bytes) -> None:
        assert version(client, jpeg, X_Beta="yes", X_Route_Key="anna") == "2.0.0"

    def test_the_same_order_is_the_same_whatever_traffic_makes_of_it(self, client: httpx.Client, jpeg: bytes) -> None:
        """A client that sends again must not be refused because a rule came meanwhile."""
        key = {"Idempotency-Key": "rules-1"}
        first = client.post("/v1/jobs?model=split", content=jpeg, headers=JPEG | key)
        again = client.post("/v1/jobs?model=split", content=jpeg, headers=JPEG | key | {"X-Beta": "yes"})
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["id"] == again.json()["id"]


class TestKeys:
    async def test_400_keys_stay_on_their_version(self, platform: Platform) -> None:
        picture = photo(16, 16)
        limit = asyncio.Semaphore(16)

        async with httpx.AsyncClient(base_url=platform.url, timeout=60) as client:

            async def answered(key: str) -> str:
                async with limit:
                    answer = await client.post(SPLIT, content=picture, headers=JPEG | {"X-Route-Key": key})
                    assert answer.status_code == 200, answer.text
                    return str(answer.headers["x-model-version"])

            async def everybody() -> list[str]:
                return await asyncio.gather(*(answered(f"user {number}") for number in range(400)))

            first, again = await everybody(), await everybody()
        assert first == again
        share = Counter(first)["1.0.0"] / 400
        assert set(first) == {"1.0.0", "1.1.0"}
        assert abs(share - 0.5) < 2.58 * (0.25 / 400) ** 0.5, "the 99 % interval"

    def test_the_key_itself_is_kept_nowhere(self, platform: Platform, client: httpx.Client, jpeg: bytes) -> None:
        def queued(**more: str) -> str:
            id_: str = client.post("/v1/jobs?model=asleep", content=jpeg, headers=JPEG | more).json()["id"]
            return id_

        anna = {"X-Route-Key": "anna@example.com"}
        ids = [queued(**anna), queued(**anna), queued()]
        first, second, none = asyncio.run(specs(platform, ids))
        for job in ids:
            client.delete(f"/v1/jobs/{job}")
        assert none.route_key is None
        assert first.route_key == second.route_key
        assert first.route_key is not None
        assert len(first.route_key) == 32
        assert "anna" not in first.model_dump_json()

    @pytest.mark.parametrize("key", ["", "x" * 129, "caf\u00e9", "a\tb"])
    @pytest.mark.parametrize("path", [SPLIT, "/v1/jobs?model=split"])
    def test_odd_keys_are_refused(self, client: httpx.Client, jpeg: bytes, path: str, key: str) -> None:
        headers = [(b"content-type", b"image/jpeg"), (b"x-route-key", key.encode("latin-1"))]
        document = problem(client.post(path, content=jpeg, headers=headers), 422, "invalid_parameter")
        message = "1 to 128 printable ASCII characters, given once"
        assert document["errors"] == [{"parameter": "X-Route-Key", "message": message}]

    def test_two_keys_are_refused(self, client: httpx.Client, jpeg: bytes) -> None:
        headers = [("Content-Type", "image/jpeg"), ("X-Route-Key", "a"), ("X-Route-Key", "b")]
        problem(client.post(SPLIT, content=jpeg, headers=headers), 422, "invalid_parameter")

    def test_gradio_s_client_sends_the_same_header(self, platform: Platform, jpeg_file: Path) -> None:
        def named(key: str) -> Client:
            return Client(platform.url, verbose=False, analytics_enabled=False, headers={"X-Route-Key": key})

        def keys() -> set[str | None]:
            return {spec.route_key for spec in asyncio.run(specs(platform))}

        stock, before = named("somebody who uses Gradio"), keys()
        stock.predict(handle_file(str(jpeg_file)), model="split", api_name="/remove_background")
        stock.close()
        assert len(keys() - before) == 1
        odd = named("x" * 129)
        with pytest.raises(Exception, match="X-Route-Key must be 1 to 128"):
            odd.predict(handle_file(str(jpeg_file)), model="split", api_name="/remove_background")
        odd.close()

    def test_it_is_documented(self, client: httpx.Client) -> None:
        document = client.get("/openapi.json").json()
        assert document["components"]["parameters"]["X-Route-Key"]["in"] == "header"
        for path in ("/models/{model}/predict", "/v1/jobs"):
            assert {"$ref": "#/components/parameters/X-Route-Key"} in document["paths"][path]["post"]["parameters"]


def settings(platform: Platform) -> StoreSettings:
    env = platform.env
    return StoreSettings(redis_url=env["MATTE_REDIS_URL"], redis_prefix=env["MATTE_REDIS_PREFIX"])


async def specs(platform: Platform, ids: list[str] | None = None) -> list[JobSpec]:
    """What was asked of jobs, as it is kept; of all that there are."""
    store = JobStore.open(settings(platform))
    prefix = store.keys.job("")
    try:
        if ids is None:
            names = [name.decode() async for name in store.redis.scan_iter(match=f"{prefix}*", _type="hash")]
            ids = [name.removeprefix(prefix) for name in names]
        raw = [await store.redis.hget(prefix + job, "spec") for job in ids]
        return [JobSpec.model_validate_json(text) for text in raw if text is not None]
    finally:
        await store.close()


@pytest.fixture(scope="module")
def reports(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A frontend whose reports are on, and a version that has evidence."""
    asyncio.run(rollout_evidence.write(settings(platform), "cut"))
    frontend = FrontendProcess(
        platform.env | {"MATTE_ROLLOUT_REPORTS": "true"}, tmp_path_factory.mktemp("reports") / "log"
    )
    with running(frontend):
        wait_until(lambda: ready(frontend.url))
        yield frontend.url


class TestReports:
    NUMBERS = "/v1/rollouts/cut/2.0.0"

    @pytest.mark.parametrize("path", [NUMBERS, f"{NUMBERS}/report"])
    def test_they_are_off_and_it_says_how_to_switch_them_on(self, client: httpx.Client, path: str) -> None:
        document = problem(client.get(path), 404, "not_found")
        assert "MATTE_ROLLOUT_REPORTS=true" in str(document["detail"])

    def test_numbers(self, reports: str) -> None:
        answer = httpx.get(reports + self.NUMBERS)
        assert answer.headers["cache-control"] == "no-store"
        assert rollout_evidence.JOB not in answer.text, "whoever knows a job's id may see its picture"
        found = answer.json()
        assert (found["model"], found["version"], found["stable"]) == ("cut", "2.0.0", "1.0.0")
        assert (found["answers"]["total"], found["answers"]["errors"], found["answers"]["bad_masks"]) == (200, 4, 5)
        assert (found["answers"]["no_subjects"], round(found["answers"]["uncertainty"], 4)) == (1, 0.0699)
        assert found["stable_answers"]["total"] == 200
        assert (found["stable_answers"]["no_subjects"], round(found["stable_answers"]["uncertainty"], 4)) == (0, 0.05)
        assert found["pairs"] == 3
        assert 0 < found["agreement"]["iou"] < 0.8
        assert [each["name"] for each in found["shown"]] == ["cat", "5b0c1d5e…", "cup"]
        assert "picture" not in found["shown"][0]

    def test_the_page(self, reports: str) -> None:
        answer = httpx.get(f"{reports}{self.NUMBERS}/report")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; img-src data:; style-src 'sha")
        assert answer.text.count("data:image/jpeg;base64,") == 3
        assert answer.text.count("data:image/png;base64,") == 9
        assert rollout_evidence.JOB not in answer.text

    def test_a_version_without_evidence(self, reports: str) -> None:
        assert httpx.get(f"{reports}/v1/rollouts/cut/1.0.0").json()["answers"]["total"] == 200
        empty = httpx.get(f"{reports}/v1/rollouts/split/1.1.0").json()
        assert (empty["answers"]["total"], empty["stable"], empty["agreement"]) == (0, "1.0.0", None)
        assert "No pictures were kept" in httpx.get(f"{reports}/v1/rollouts/split/1.1.0/report").text

    @pytest.mark.parametrize(
        ("path", "code"), [("cut/7.0.0", "version_not_found"), ("none/1.0.0", "model_not_found"),
                           (f"cut/{'9' * 4000}", "version_not_found")],
    )  # fmt: skip
    def test_what_is_not_there(self, reports: str, path: str, code: str) -> None:
        problem(httpx.get(f"{reports}/v1/rollouts/{path}"), 404, code)
        problem(httpx.get(f"{reports}/v1/rollouts/{path}/report"), 404, code)

    def test_the_command_fetches_it(self, reports: str, platform: Platform, tmp_path: Path) -> None:
        out = tmp_path / "report.html"
        found = CliRunner().invoke(app, ["rollout", "report", "cut", "2.0.0", "--url", reports, "-o", str(out)])
        assert found.exit_code == 0, found.stderr
        assert out.read_text().count("<img ") == 12
        assert out.stat().st_mode & 0o077 == 0, "for its owner only"
        off = CliRunner().invoke(app, ["rollout", "report", "cut", "2.0.0", "--url", platform.url])
        assert off.exit_code == 1
        assert "MATTE_ROLLOUT_REPORTS=true" in off.stderr

"""The commands' options. The registry with its clients is imported only when one of them runs."""

# ruff: noqa: PLC0415 - so that the other commands start quickly

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from matte_cli.console import Json

Source = Annotated[
    str,
    typer.Argument(
        help="A model of the catalog (isnet, isnet@1.1.0), a folder, s3://…, gs://…, hf://ORG/REPO@REVISION,"
        " mlflow://HOST/models/NAME/VERSION, oci://…, pvc://…, npm://PACKAGE@VERSION/PATH or https://…#sha256=…"
    ),
]
Target = Annotated[
    str,
    typer.Argument(help="A folder, s3://…, gs://…, hf://ORG/REPO, mlflow://HOST/models/NAME, oci://… or pvc://…"),
]
Digest = Annotated[str | None, typer.Option("--digest", help="Digest that the version must have: sha256:…")]
Keys = Annotated[
    list[Path] | None,
    typer.Option("--key", help="Public key (PEM); one of those given must have signed the version.", exists=True),
]
Licenses = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-license",
        help="An allowed SPDX license; by default, all are, except the catalog's for non-commercial use.",
    ),
]
Assumed = Annotated[str | None, typer.Option("--license", help="License of a version that has no matte.yaml.")]
app = typer.Typer()


@app.command()
def catalog(*, as_json: Json = False) -> None:
    """List the models that Matte knows: versions, license, size, and where their weights come from."""
    from matte_cli.registry import operations

    operations.catalog(as_json=as_json)


@app.command()
def push(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of the version (matte.yaml, and safetensors or ONNX), or a model of the catalog.",
        ),
    ],
    target: Target,
    *,
    sign_key: Annotated[
        Path | None, typer.Option("--sign-key", help="Private key (PEM) to sign with.", exists=True)
    ] = None,
    passphrase: Annotated[
        str | None, typer.Option("--passphrase", envvar="MATTE_SIGN_PASSPHRASE", help="Passphrase of the private key.")
    ] = None,
    allow_license: Licenses = None,
    as_json: Json = False,
) -> None:
    """Publish a folder, or a model of the catalog, as a version; prints the source and digest to put into a Model."""
    from matte_cli.registry import operations

    with operations.exit_on_error():
        operations.push(
            source, target, sign_key, passphrase, operations.policy(None, None, allow_license, None), as_json=as_json
        )


@app.command()
def pull(
    source: Source,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder to download into: absent or empty. By default, ./NAME-VERSION for a model of the catalog.",
            show_default=False,
        ),
    ] = None,
    *,
    digest: Digest = None,
    key: Keys = None,
    allow_license: Licenses = None,
    license_: Assumed = None,
) -> None:
    """Download a version into a folder and check it. The same command resumes a download that was cut off."""
    from matte_cli.registry import operations

    with operations.exit_on_error():
        operations.pull(source, folder, operations.policy(digest, key, allow_license, license_))


@app.command("list")
def list_versions(
    source: Source,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of versions.")] = 200,
    as_json: Json = False,
) -> None:
    """List the versions below a folder or bucket, or the tags and versions of a name."""
    from matte_cli.registry import operations

    operations.list_versions(source, limit, as_json=as_json)


@app.command()
def verify(
    source: Source,
    *,
    digest: Digest = None,
    key: Keys = None,
    allow_license: Licenses = None,
    license_: Assumed = None,
    as_json: Json = False,
) -> None:
    """Read every file of a version and check its metadata, digest, signature and license."""
    from matte_cli.registry import operations

    with operations.exit_on_error():
        operations.verify(source, operations.policy(digest, key, allow_license, license_), as_json=as_json)


@app.command()
def diff(
    old: Source,
    new: Source,
    *,
    values: Annotated[bool, typer.Option("--values/--no-values", help="Read and compare the weights too.")] = True,
    as_json: Json = False,
) -> None:
    """Show what differs between two versions: files, shapes and types of tensors, and how far the weights moved."""
    from matte_cli.registry import operations

    operations.diff(old, new, values=values, as_json=as_json)

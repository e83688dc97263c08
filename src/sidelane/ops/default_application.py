"""Application of a project without a description: found in the source, without an import, which may take seconds."""

import ast
from pathlib import Path

from sidelane.model.errors import ConfigurationError

MODULES = ("main", "app", "api", "app.main", "app.app", "app.api")
"""Where an application is looked for, in this order; these are the places where `fastapi run` looks."""

NAMES = ("app", "api")

SMALLEST = """\
    [api.web]
    app = "shop.main:app"

    [worker.jobs]"""
"""The smallest `sidelane.toml` with an API and a worker."""


def find_application(folder: Path) -> str:
    """Return the application of a folder as `module:attribute`. Raises `ConfigurationError`."""
    for module in MODULES:
        file = folder / f"{module.replace('.', '/')}.py"
        if file.is_file() and (name := _application(file)):
            return f"{module}:{name}"
    files = ", ".join(f"{module.replace('.', '/')}.py" for module in MODULES)
    raise ConfigurationError(
        f"There is no description of a service in {folder}, neither sidelane.toml nor [tool.sidelane.up] in pyproject.toml, and "
        f"no application to start without one, i.e. `app = FastAPI()` in one of {files}. Run this in the project's folder, or "
        f"write sidelane.toml, e.g.\n{SMALLEST}"
    )


def _application(file: Path) -> str | None:
    """Return the name of the application in a module: what FastAPI() makes, else `app` or `api`, or None."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigurationError(
            f"{file}, line {line}: the application cannot be found, because of {type(error).__name__}: "
            f"{getattr(error, 'msg', error)}."
        ) from error
    names: list[str] = []
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "FastAPI":
                    return name
                names.append(name)
            case ast.ImportFrom(names=aliases):
                names += [alias.asname or alias.name for alias in aliases]
            case _:
                pass
    return next((name for name in NAMES if name in names), None)

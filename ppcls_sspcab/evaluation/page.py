"""Pages of HTML that hold everything they show, made from the templates of this and other rooms."""

from __future__ import annotations

from typing import Any

from ppcls_sspcab.utils.table import flat, interval, number


def render(package: str, template: str, **values: Any) -> str:
    """A page from the template of a package, which may extend ``base.html.j2`` of this one.

    Every value is escaped. The page's policy forbids every load, so it cannot ask a network.

    Args:
        package: name of the package with the folder ``templates``.
        template: name of the file in it.
        values: what it shows; one that it does not get is an error.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"flat": flat, "interval": interval, "number": number}
    return environment.get_template(template).render(values)

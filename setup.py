"""Names the packages of the wheel; all else stands in pyproject.toml.

``configs/`` lies beside the package here and inside it in the wheel, which the package finder of
pyproject.toml cannot say.
"""

from setuptools import find_namespace_packages, find_packages, setup

setup(
    packages=[
        *find_packages(include=["ppcls_sspcab*"]),
        "ppcls_sspcab.configs",
        *(f"ppcls_sspcab.configs.{name}" for name in find_namespace_packages("configs")),
    ]
)

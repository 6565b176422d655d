"""Which versions of a contract a reader takes."""

from rollcast_common.errors import ContractError

__all__ = ["check_schema"]


def check_schema(contract: str, schema: str, *, major: int) -> None:
    """Accept `major` and the one before it, in any minor.

    Raises ContractError for any other major, and for what is not "major.minor".
    """
    first, dot, second = schema.partition(".")
    if not (dot and first.isdigit() and second.isdigit()):
        raise ContractError(f'{contract}: schema is {schema!r}, expected "major.minor" such as "{major}.0"')
    if int(first) not in (major, major - 1) or int(first) < 1:
        readable = f"{major - 1} and {major}" if major > 1 else f"{major}"
        raise ContractError(
            f"{contract}: schema {schema} is not known here (majors read: {readable}); "
            "a newer writer needs a newer reader"
        )

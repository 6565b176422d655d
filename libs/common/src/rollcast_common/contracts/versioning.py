"""Which versions of a contract a reader takes."""

import re
from typing import TypeVar

import msgspec

from rollcast_common.errors import ContractError

__all__ = ["check_schema", "decode_contract"]

_SCHEMA = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")

ContractT = TypeVar("ContractT", bound=msgspec.Struct)


class _OnlySchema(msgspec.Struct):
    schema: str


_schema_decoder = msgspec.json.Decoder(_OnlySchema)


def decode_contract(contract: str, decoder: msgspec.json.Decoder[ContractT], data: bytes, *, major: int) -> ContractT:
    """The message in `data`, in any minor of a known major.

    Raises ContractError. Of a message that another major shaped differently, it says that the major is not
    known rather than which field is missing.
    """
    try:
        message = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            schema = _schema_decoder.decode(data).schema
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            check_schema(contract, schema, major=major)
        raise ContractError(f"{contract}: {error}") from None
    check_schema(contract, message.schema, major=major)  # type: ignore[attr-defined]  # every contract has it
    return message


def check_schema(contract: str, schema: str, *, major: int) -> None:
    """Accept `major` and the one before it, in any minor.

    Raises ContractError for any other major, and for what is not "major.minor".
    """
    found = _SCHEMA.fullmatch(schema)
    if found is None:
        raise ContractError(f'{contract}: schema is {schema!r}, expected "major.minor" such as "{major}.0"')
    if int(found[1]) not in (major, major - 1) or int(found[1]) < 1:
        readable = f"{major - 1} and {major}" if major > 1 else f"{major}"
        raise ContractError(
            f"{contract}: schema {schema} is not known here (majors read: {readable}); "
            "a newer writer needs a newer reader"
        )

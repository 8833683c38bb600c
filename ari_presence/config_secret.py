"""Secrets of the configuration: in a file that is named, else in the text that is given."""

from pydantic import SecretStr, ValidationInfo

from ari_presence import config_values as values
from ari_presence.config_errors import ProblemsError


def read_secret(given: object, info: ValidationInfo) -> object:
    """Take a secret from the file that is named by `<field>_file`, else from the text that is given.

    Raises:
        ValueError: Both are given.
        ProblemsError: It cannot be read; the text never repeats it.
    """
    key = f"{info.field_name}_file"
    name = info.data.get(key)
    absent = given is None or (isinstance(given, SecretStr) and not given.get_secret_value())
    if name is not None and not absent:
        raise ValueError(f"{key} is given as well: keep one of the two")
    try:
        if name is not None:
            return values.secret_file(name, (info.context or {}).get("environ", {}))
        return values.secret(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ProblemsError((key if name is not None else str(info.field_name), str(error))) from None

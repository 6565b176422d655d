"""Requests to an API server as kubeconfig says: JSON in, JSON out, problems as people can read them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException

from rollcast_cli.rolling.resources import Unavailable
from rollcast_common.errors import ConfigError

__all__ = ["FIELD_MANAGER", "Answered", "ApiServer"]

FIELD_MANAGER = "rollcast"

Json = dict[str, Any]

_TIMEOUT = (5.0, 15.0)
_WATCH_SECONDS = 60


class Answered(Exception):
    """An answer that is no success: `code` is HTTP's, `status` the API's own object."""

    def __init__(self, code: int, status: Json) -> None:
        super().__init__(str(status.get("message") or code))
        self.code = code
        self.status = status


class ApiServer:
    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        """Raises ConfigError when there is no such file or context."""
        settings: Any = Configuration()
        load: Any = config
        try:
            load.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig else None, context=context, client_configuration=settings
            )
            _, active = load.list_kube_config_contexts(config_file=str(kubeconfig) if kubeconfig else None)
            contexts = {each["name"]: each for each in _}
        except ConfigException as error:
            raise ConfigError(f"kubeconfig: {str(error).rstrip('.')}; see --kubeconfig and --context") from None
        settings.retries = False
        self.url: str = settings.host
        self.namespace: str = (contexts[context] if context else active)["context"].get("namespace") or "default"
        self._client: Any = ApiClient(settings)  # its stubs do not know half of it

    def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, media: str = ""
    ) -> Json:
        """Raises Answered, and Unavailable where nothing answers or not us."""
        response = self._send(method, path, query, body, media, _TIMEOUT)
        try:
            data = response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(error) from None
        return self._checked(response.status, data)

    def watch(self, path: str, version: str) -> Iterator[Json]:
        """Every change since `version`, for about a minute. Raises Answered when that is too long ago."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        response = self._send("GET", path, query, None, "", (_TIMEOUT[0], _WATCH_SECONDS + _TIMEOUT[1]))
        if response.status >= 300:  # noqa: PLR2004  # HTTP's own
            self._checked(response.status, response.read())
        rest = b""
        try:
            for chunk in response.response.stream(65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    change = json.loads(line)
                    if change["type"] == "ERROR":
                        raise Answered(change["object"].get("code", 410), change["object"])
                    yield change
        except (urllib3.exceptions.HTTPError, OSError):
            return  # whoever watches asks again, and hears then what is wrong
        finally:
            response.response.close()

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, media: str, timeout: Any
    ) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = media or "application/json"
        # What is no plain JSON to the client, it would not encode.
        sent = json.dumps(body) if media.endswith("yaml") else body
        try:
            method, url, headers, _, _ = self._client.param_serialize(
                method, path, header_params=headers, auth_settings=["BearerToken"]
            )
            url = f"{url}?{urlencode(query)}" if query else url
            return self._client.call_api(method, url, headers, sent, _request_timeout=timeout)
        except ApiException as error:  # TLS
            raise Unavailable(f"API server {self.url}: {error.reason}; is this the right --context?") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(error) from None

    def _away(self, error: Exception) -> Unavailable:
        why = getattr(error, "reason", None) or error
        return Unavailable(
            f"API server {self.url}: not reachable ({why}); does it run, and is this the right --context?"
        )

    def _checked(self, code: int, data: bytes) -> Json:
        try:
            answer: Json = json.loads(data)
        except ValueError:
            answer = {"message": data[:200].decode("utf-8", "replace").strip()}
        if code < 300:  # noqa: PLR2004  # HTTP's own
            return answer
        said = answer.get("message")
        if code == 401:  # noqa: PLR2004
            raise Unavailable(f"API server {self.url}: {said}: it does not know who this is; log in again")
        if code == 403:  # noqa: PLR2004
            raise Unavailable(f"API server {self.url}: {said}; a Role that allows it is missing")
        if code in (429, 500, 503, 504) and answer.get("reason") != "InternalError" and "typed patch" not in str(said):
            raise Unavailable(f"API server {self.url}: {said} ({code}); try again")
        raise Answered(code, answer)

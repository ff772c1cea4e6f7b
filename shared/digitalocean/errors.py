"""What can go wrong at the provider, by what the caller can do about it.

    ProviderError
    ├── MissingToken    nothing was sent: no usable token for the purpose
    ├── Unauthorized    401: the token is wrong or revoked
    ├── Forbidden       403: the token's scopes, or the provider's rules, do not allow it
    ├── NotFound        404: the thing does not exist (or not yet: lists and ids lag behind a create)
    ├── Refused         any other 4xx, such as 409, 412, 422: it did not happen and never will as asked
    ├── RateLimited     429, or the budget is spent: put the work off for `retry_after` seconds
    ├── TooLate         not sent: its deadline passed before its turn came
    ├── Unavailable     no answer or 5xx, although tried again: nothing happened, put the work off
    ├── OutcomeUnknown  a write that may or may not have happened: ask the provider before anything is done again
    └── BadAnswer       an answer that makes no sense: not JSON, or of another shape

The status code alone decides: the provider's `id` is a text for people and has been seen as `"Forbidden"` and as `""`.
"""

from __future__ import annotations

from shared.digitalocean.call import Call


class ProviderError(Exception):
    """The provider did not do what was asked; `status` is None where no answer came."""

    def __init__(
        self,
        call: Call,
        message: str,
        *,
        status: int | None = None,
        error_id: str = "",
        request_id: str = "",
    ) -> None:
        self.method = call.method
        self.path = call.path
        self.message = message
        self.status = status
        self.error_id = error_id
        self.request_id = request_id
        answered = f" answered {status}" if status else ""
        request = f" (request {request_id})" if request_id else ""
        super().__init__(f"DigitalOcean: {call}{answered}: {message}{request}")


class MissingToken(ProviderError):
    """No usable token is configured for the purpose of the call."""


class Unauthorized(ProviderError):
    """The provider does not know the token."""


class Forbidden(ProviderError):
    """The token may not do this, or nobody may (the default VPC cannot be deleted, say)."""


class NotFound(ProviderError):
    """The provider knows no such thing, or does not know it yet."""


class Refused(ProviderError):
    """The provider said no to this very request; sending it again unchanged will not help."""


class RateLimited(ProviderError):
    """The provider's limit, or this process's share of it, is spent: come back in `retry_after` seconds."""

    def __init__(
        self,
        call: Call,
        message: str,
        *,
        retry_after: float,
        status: int | None = None,
        error_id: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(call, message, status=status, error_id=error_id, request_id=request_id)
        self.retry_after = retry_after


class TooLate(ProviderError):
    """The deadline passed while the call waited for its turn: it was not sent, and is not tried again."""


class Unavailable(ProviderError):
    """The provider could not be reached or failed, and nothing has happened."""


class OutcomeUnknown(ProviderError):
    """A write was sent and its outcome never learned."""


class BadAnswer(ProviderError):
    """The provider's answer cannot be read."""

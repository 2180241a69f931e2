"""Who is connecting: bearer tokens, or nobody in particular where no sign-in is set up."""

from __future__ import annotations

from typing import Any, NamedTuple

import jwt

from app.errors import ConfigError, ParleyError
from app.protocol.values import clean
from app.settings import Settings

ANONYMOUS = "anonymous"
"""The user of all who did not sign in: their sessions are told apart by their unguessable ids alone."""

LEEWAY = 30.0
"""Seconds for which the issuer's clock and ours may differ."""

MAX_USER = 256
"""Characters of a user's name."""

FAR_FUTURE = 2.0**53
"""An expiry that is as good as none, and still a number that can be reckoned with."""


class AuthError(ParleyError):
    """It is not known who is connecting. The text says why and is for the client: no secret is in it."""


class Identity(NamedTuple):
    """A user, and when that is to be doubted: seconds since the epoch, None for never."""

    user: str
    expires: float | None


class Authenticator:
    """Knows users by HS256 JSON Web Tokens (RFC 7519) if `auth_jwt_secret` is set, else all are anonymous.

    A token needs `exp`, and `sub` of 1 to 256 characters, which is the user; `iss` and `aud` as set.
    Raises: ConfigError if tokens are asked for in a way that is not built.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.auth_jwks is not None:
            raise ConfigError("PARLEY_AUTH_JWKS is not supported yet: set PARLEY_AUTH_JWT_SECRET instead")
        self._secret = settings.auth_jwt_secret
        self._issuer = settings.auth_issuer
        self._audience = settings.auth_audience

    def identify(self, authorization: str | None, token: str | None) -> Identity:
        """The user of a connection, by the token in its `hello`, else by its `Authorization` header.

        Raises: AuthError.
        """
        if self._secret is None:
            return Identity(ANONYMOUS, None)
        token = token or bearer(authorization)
        if token is None:
            raise AuthError("a token is needed: send `Authorization: Bearer …`, or `token` in hello")
        claims = self._claims(token, self._secret.get_secret_value())
        user: str = claims["sub"]
        if user != clean(user):
            raise AuthError("the token's sub is not Unicode text")
        if not 1 <= len(user) <= MAX_USER:
            raise AuthError(f"the token's sub must have 1 to {MAX_USER} characters")
        if user == ANONYMOUS:
            raise AuthError(f"the token's sub is {ANONYMOUS}, which is the name of those without a token")
        return Identity(user, min(int(claims["exp"]), FAR_FUTURE) + LEEWAY)

    def _claims(self, token: str, secret: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                secret,
                # The token's own header never chooses how it is checked (RFC 8725, section 3.1).
                algorithms=["HS256"],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "sub"]},
            )
        # Its header is parsed before its signature is checked, so anyone may have written what is parsed.
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise AuthError(f"the token is refused: {error}") from None


def bearer(authorization: str | None) -> str | None:
    """The token of a `Bearer` header (RFC 6750, section 2.1); other schemes are not meant for us."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None

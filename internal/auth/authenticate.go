package auth

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// TokenUser is the user name which says that the password is a token: what
// az acr login tells docker.
const TokenUser = "00000000-0000-0000-0000-000000000000"

// Authenticate returns who makes the request: Anonymous if it does not say. It
// takes Basic (user name and password, or TokenUser and a token) and Bearer (an
// access token).
//
// Credentials that are wrong fail with UNAUTHORIZED, kind
// fault.Unauthenticated; the error has a method Challenge() string, the value of
// the answer's Www-Authenticate field. Too many wrong passwords fail with
// TOOMANYREQUESTS, kind fault.Unavailable; the error has a method RetryAfter()
// time.Duration. The address that failures are counted for is the host of
// r.RemoteAddr.
func (a *Authority) Authenticate(r *http.Request, registry Registry) (Identity, error) {
	fields := r.Header.Values("Authorization")
	if len(fields) == 0 {
		return Anonymous, nil
	}
	given, err := parseAuthorization(fields[0])
	if err == nil && len(fields) > 1 {
		err = errors.New("the request has more than one Authorization field")
	}
	if err != nil {
		return Anonymous, unauthenticated(registry, noProblem, err.Error())
	}
	if given.bearer != "" {
		id, ok := a.identify(registry, given.bearer, accessToken)
		if !ok {
			return Anonymous, badToken(registry)
		}
		return id, nil
	}
	return a.Login(registry, r.RemoteAddr, given.user, given.password)
}

// Login returns who has that user name and password. client is the address the
// request came from, as http.Request.RemoteAddr has it. Errors as Authenticate.
func (a *Authority) Login(registry Registry, client, user, password string) (Identity, error) {
	if user == TokenUser {
		for _, kind := range []grantType{accessToken, refreshToken} {
			if id, ok := a.identify(registry, password, kind); ok {
				return id, nil
			}
		}
		return Anonymous, badToken(registry)
	}
	if wait := a.backoff.wait(client, user); wait > 0 {
		return Anonymous, tooManyFailures(wait)
	}
	given := a.mac(user, password)
	for _, acc := range a.accounts(registry.ID, user) {
		if !hmac.Equal(given[:], acc.mac[:]) {
			continue
		}
		a.backoff.succeeded(client, user)
		if acc == a.operator.Load() {
			return Identity{Name: acc.name, Operator: true}, nil
		}
		return Identity{Name: acc.name, Registry: registry.ID, owner: true, credential: acc.credential()}, nil
	}
	a.backoff.failed(client, user, given)
	return Anonymous, unauthenticated(registry, noProblem,
		"the user name or the password is wrong: the operator's are in the file admin-credentials of the server's data folder")
}

// Refresh returns who a refresh token stands for. Errors as Authenticate.
func (a *Authority) Refresh(registry Registry, token string) (Identity, error) {
	id, ok := a.identify(registry, token, refreshToken)
	if !ok {
		return Anonymous, badToken(registry)
	}
	return id, nil
}

func badToken(registry Registry) error {
	return unauthenticated(registry, invalidToken,
		"the token is not valid here: it has expired, or is another registry's, or its password has changed; log in again with docker login "+registry.host())
}

// identify returns who a token of that kind stands for.
func (a *Authority) identify(registry Registry, token string, kind grantType) (Identity, bool) {
	c, ok := a.verify(token)
	if !ok || c.GrantType != kind || c.Audience != registry.Service {
		return Anonymous, false
	}
	id := Identity{Name: c.Subject, Registry: registry.ID, Access: c.Access, expires: time.Unix(c.Expires, 0)}
	if c.Subject != "" {
		counts := func(acc *account) bool { return acc.credential() == c.Credential }
		if !slices.ContainsFunc(a.accounts(registry.ID, c.Subject), counts) {
			return Anonymous, false
		}
		id.credential = c.Credential
	}
	if kind == refreshToken {
		id.owner = true
	} else if id.Access == nil {
		id.Access = []Access{} // an access token without any allows nothing
	}
	return id, true
}

// authorization is what an Authorization field holds: a bearer token, or user
// name and password.
type authorization struct {
	bearer         string
	user, password string
}

// parseAuthorization reads the field's value (RFC 7617, RFC 6750). Its errors
// repeat nothing of it.
func parseAuthorization(value string) (authorization, error) {
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.Trim(rest, " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		if rest == "" {
			return authorization{}, errors.New("the Authorization field holds no token: write it as Bearer, a blank, the token")
		}
		return authorization{bearer: rest}, nil
	case "basic":
		plain, err := base64.StdEncoding.DecodeString(rest)
		user, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok {
			return authorization{}, errors.New("the Authorization field is not valid: after Basic comes user:password in base64")
		}
		return authorization{user: user, password: password}, nil
	}
	return authorization{}, errors.New("the Authorization field has a scheme that is not offered: use Basic or Bearer")
}

package auth

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// TokenUser is the user name which says that the password is a token: what
// az acr login tells docker.
const TokenUser = "00000000-0000-0000-0000-000000000000"

// Authenticate returns who makes the request: Anonymous if it does not say. It
// takes Basic (user name and password, or TokenUser and a token) and Bearer (an
// access token of the registry).
//
// Credentials that are wrong fail with UNAUTHORIZED, kind
// fault.Unauthenticated; the error has a method Challenge() string, the value of
// the answer's Www-Authenticate field. Too many wrong passwords fail with
// TOOMANYREQUESTS, kind fault.Unavailable; the error has a method RetryAfter()
// time.Duration. The address that failures are counted for is the host of
// r.RemoteAddr. Other errors come from the database.
func (a *Authority) Authenticate(r *http.Request, registry Registry) (Identity, error) {
	given, ok, err := credentials(r)
	switch {
	case err != nil:
		return Anonymous, unauthenticated(registry, noProblem, err.Error())
	case !ok:
		return Anonymous, nil
	case given.bearer != "":
		return a.identify(r.Context(), registry, r.RemoteAddr, given.bearer, accessToken)
	}
	return a.Login(r.Context(), registry, r.RemoteAddr, given.user, given.password)
}

// Login returns who has that user name and password. client is the address the
// request came from, as http.Request.RemoteAddr has it. Errors as Authenticate.
func (a *Authority) Login(ctx context.Context, registry Registry, client, user, password string) (Identity, error) {
	if user == TokenUser {
		return a.identify(ctx, registry, client, password, accessToken, refreshToken)
	}
	acc, err := a.check(ctx, registry.ID, client, user, password)
	if err != nil {
		return Anonymous, challenged(registry, noProblem, err)
	}
	return Identity{Name: acc.name, Registry: acc.registry, account: acc}, nil
}

// check returns the account of a registry, or with 0 of the control plane, with
// that user name and password. What is wrong fails with fault.Unauthenticated,
// without a challenge yet.
func (a *Authority) check(ctx context.Context, registry int64, client, user, password string) (*account, error) {
	appID, program := parseAppID(user)
	if program {
		user = appID
	}
	failure := Failure{Registry: registry, Client: client, Cause: WrongPassword}
	if program {
		failure.User, failure.Kind = user, Application
	}
	if wait := a.backoff.wait(client, user); wait > 0 {
		failure.Cause = LockedOut
		for _, acc := range a.inMemory(registry, user) {
			failure.User, failure.Kind = user, acc.kind
		}
		a.failed(failure)
		return nil, tooManyFailures(wait)
	}
	all, err := a.accounts(ctx, registry, user)
	if err != nil {
		return nil, err
	}
	given := a.mac(user, password)
	for _, acc := range all {
		if hmac.Equal(given[:], acc.mac[:]) {
			a.backoff.succeeded(client, user)
			return acc, nil
		}
		failure.User, failure.Kind = user, acc.kind
	}
	a.backoff.failed(client, user, given)
	a.failed(failure)
	if program {
		return nil, fault.New(fault.Unauthenticated,
			"the password of service principal %s is wrong, or there is none of this id: dockbell service-principal list shows them, reset makes a new password", appID)
	}
	return nil, fault.New(fault.Unauthenticated,
		"the user name or the password is wrong: the operator's are in the file admin-credentials of the server's data folder, a service principal's user name is its appId; a token's password may have expired, or the token be disabled")
}

// Refresh returns who a refresh token stands for. client is as for Login. Errors
// as Authenticate.
func (a *Authority) Refresh(ctx context.Context, registry Registry, client, token string) (Identity, error) {
	return a.identify(ctx, registry, client, token, refreshToken)
}

// Exchange returns who a bearer token of the identity authority stands for in
// the registry. client is as for Login. Errors as Authenticate.
func (a *Authority) Exchange(ctx context.Context, registry Registry, client, token string) (Identity, error) {
	acc, expires, wrong, err := a.bearer(ctx, token, forRegistries)
	if acc == nil && err == nil {
		acc, expires, wrong, err = a.bearer(ctx, token, forControlPlane)
		if acc != nil && registry.RegistryTokensOnly {
			return Anonymous, unauthenticated(registry, invalidToken,
				"the token is for the control plane, and registry "+registry.Name+" takes none of those: ask for one whose scope is "+RegistriesResource+"/.default")
		}
	}
	if err != nil {
		return Anonymous, err
	}
	if acc == nil {
		a.failed(Failure{Registry: registry.ID, Client: client, Cause: wrong})
		return Anonymous, badToken(registry)
	}
	return Identity{Name: acc.name, Registry: registry.ID, account: acc, expires: expires}, nil
}

func badToken(registry Registry) error {
	return unauthenticated(registry, invalidToken,
		"the token is not valid here: it has expired, or is another registry's, or its password has changed; log in again with docker login "+registry.host())
}

// identify returns who a registry's token of one of the kinds stands for.
func (a *Authority) identify(ctx context.Context, registry Registry, client, token string, kinds ...grantType) (Identity, error) {
	c, wrong := a.verify(ctx, token)
	if wrong == "" && (!slices.Contains(kinds, c.GrantType) || c.Audience != registry.Service) {
		wrong = MisusedToken
	}
	if wrong != "" {
		a.failed(Failure{Registry: registry.ID, Client: client, Cause: wrong})
		return Anonymous, badToken(registry)
	}
	id := Identity{Registry: registry.ID, Access: c.Access, expires: time.Unix(c.Expires, 0)}
	if c.Subject != "" {
		acc, err := a.accountOf(ctx, registry.ID, c.Subject, c.Credential)
		if err != nil {
			return Anonymous, err
		}
		if acc == nil {
			return Anonymous, badToken(registry)
		}
		id.Name, id.account = acc.name, acc
	}
	if c.GrantType == accessToken && id.Access == nil {
		id.Access = []Access{} // an access token without any allows nothing
	}
	return id, nil
}

// credentials reads the request's Authorization field; ok is false without one.
// Its errors repeat nothing of it.
func credentials(r *http.Request) (given authorization, ok bool, err error) {
	fields := r.Header.Values("Authorization")
	switch len(fields) {
	case 0:
		return authorization{}, false, nil
	case 1:
		given, err = parseAuthorization(fields[0])
		return given, err == nil, err
	}
	return authorization{}, false, errors.New("the request has more than one Authorization field")
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

package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// refusal is a fault of kind Unauthenticated that also says how to do better.
type refusal struct {
	fault     *fault.Error
	challenge string
}

func (r *refusal) Error() string { return r.fault.Error() }
func (r *refusal) Unwrap() error { return r.fault }

// Challenge returns the value of the answer's Www-Authenticate field.
func (r *refusal) Challenge() string { return r.challenge }

// The values of a challenge's error parameter (RFC 6750, section 3.1).
const (
	noProblem         = ""
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
)

// challenge says where a token can be had, and for which scopes. Clients split
// it in simple ways: there is no blank after a comma.
func challenge(registry Registry, problem string, wanted ...Access) string {
	c := fmt.Sprintf(`Bearer realm="%s/oauth2/token",service="%s"`, registry.Realm, registry.Service)
	if len(wanted) > 0 {
		c += `,scope="` + scopesText(wanted) + `"`
	}
	if problem != noProblem {
		c += `,error="` + problem + `"`
	}
	return c
}

// scopesText writes scopes divided by blanks.
func scopesText(wanted []Access) string {
	scopes := make([]string, len(wanted))
	for i, w := range wanted {
		scopes[i] = w.String()
	}
	return strings.Join(scopes, " ")
}

// unauthenticated refuses credentials.
func unauthenticated(registry Registry, problem, message string) error {
	return challenged(registry, problem, fault.New(fault.Unauthenticated, "%s", message))
}

// challenged adds to an error that refuses credentials how to do better; other
// errors stay as they are.
func challenged(registry Registry, problem string, err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	return &refusal{fault.As(err).WithCode(oci.CodeUnauthorized), challenge(registry, problem)}
}

// missing is one entry of a refusal's detail, as ACR writes it.
type missing struct{ Type, Name, Action string }

// Require returns nil if the identity may do all that is wanted in the registry;
// without anything wanted, if it is anyone who may do anything there. Otherwise it fails with
// UNAUTHORIZED, kind fault.Unauthenticated, and the error has a method
// Challenge() string: the value of Www-Authenticate that asks for a token which
// would do.
func (id Identity) Require(registry Registry, wanted ...Access) error {
	if id.known(registry) && id.mayAll(registry, wanted) {
		return nil
	}
	return id.refuse(registry, wanted...)
}

// refuse makes the error of Require.
func (id Identity) refuse(registry Registry, wanted ...Access) *refusal {
	f := fault.New(fault.Unauthenticated, "authentication required: docker login %s", registry.host()).WithCode(oci.CodeUnauthorized)
	var detail []missing
	for _, w := range wanted {
		for _, action := range w.Actions {
			detail = append(detail, missing{w.Type, w.Name, action})
		}
	}
	if detail != nil {
		f.Detail = detail
	}
	problem := noProblem
	if !id.expires.IsZero() && len(wanted) > 0 { // came with a token
		problem = insufficientScope
	}
	if id.account != nil && id.actsOn(registry) {
		whole := id
		whole.Access = nil
		if len(wanted) > 0 && whole.mayAll(registry, wanted) {
			f.Message = fmt.Sprintf("authentication required: the token of %s does not allow %s: get one for that scope", id.Name, scopesText(wanted))
		} else {
			f.Message = "authentication required: " + id.account.lacks(registry, wanted)
		}
	}
	return &refusal{f, challenge(registry, problem, wanted...)}
}

// requireOne is Require of whichever of the alternatives the identity may do; a
// refusal asks for the first.
func (id Identity) requireOne(registry Registry, first Access, others ...Access) error {
	for _, other := range others {
		if id.Require(registry, other) == nil {
			return nil
		}
	}
	return id.Require(registry, first)
}

// lacks says that the account may not do what is wanted in the registry, or without
// anything wanted, nothing there.
func (acc *account) lacks(registry Registry, wanted []Access) string {
	mapped := acc.rights.rules != nil // which come from a scope map
	switch {
	case len(wanted) > 0 && mapped:
		return fmt.Sprintf("the scope map of %s does not allow %s in registry %s", acc.name, scopesText(wanted), registry.Name)
	case len(wanted) > 0:
		return fmt.Sprintf("the roles of %s do not allow %s in registry %s", acc.name, scopesText(wanted), registry.Name)
	case mapped:
		return fmt.Sprintf("the scope map of %s allows nothing in registry %s", acc.name, registry.Name)
	}
	return fmt.Sprintf("%s has no role in registry %s that lets it pull, push or delete", acc.name, registry.Name)
}

func (id Identity) mayAll(registry Registry, wanted []Access) bool {
	for _, w := range wanted {
		if len(w.Actions) == 0 {
			return false // who forgets to say what for is not let through
		}
		for _, action := range w.Actions {
			if !id.may(registry, w.Type, w.Name, action) {
				return false
			}
		}
	}
	return true
}

// throttled is a fault of kind Unavailable for a caller who guesses passwords.
type throttled struct {
	fault *fault.Error
	after time.Duration
}

func (t *throttled) Error() string { return t.fault.Error() }
func (t *throttled) Unwrap() error { return t.fault }

// RetryAfter returns when to try again: the answer's Retry-After field.
func (t *throttled) RetryAfter() time.Duration { return t.after }

func tooManyFailures(after time.Duration) error {
	seconds := int64((after + time.Second - 1) / time.Second)
	return &throttled{
		fault.New(fault.Unavailable, "too many wrong passwords for this user from this address: try again in %d s", seconds).
			WithCode(oci.CodeTooManyRequests),
		time.Duration(seconds) * time.Second,
	}
}

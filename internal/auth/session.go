package auth

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// Session returns whose bearer token for the control plane it is, and until when it
// is good. It fails with fault.Unauthenticated for one that is none, or not any
// more.
func (a *Authority) Session(ctx context.Context, token string) (p Principal, until time.Time, err error) {
	acc, until, _, err := a.bearer(ctx, token, forControlPlane)
	if err == nil && acc == nil {
		err = fault.New(fault.Unauthenticated, "the session is over: log in again")
	}
	return Principal{acc}, until, err
}

// Identity returns the principal as one who does everything that its account may.
func (p Principal) Identity() Identity {
	if p.account == nil {
		return Anonymous
	}
	return Identity{Name: p.account.name, Registry: p.account.registry, account: p.account}
}

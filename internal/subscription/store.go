package subscription

import (
	"context"

	"github.com/dockbell/dockbell/internal/fault"
)

// Store is the event subscriptions of all registries.
type Store struct{}

var errNotYet = fault.New(fault.Unsupported, "not yet")

// Put creates the subscription, or replaces the definition of the one that has the
// name; created tells which. Its receiver is asked first: nothing is kept if that
// does not agree, neither at once nor perhaps later. check true does only that.
//
// Errors: fault.Invalid (InvalidRequest) for what breaks a rule and for an address
// that may not be rung, fault.Invalid (Url validation) for a receiver that does not
// agree, with what it answered, fault.Conflict for a name that is being created,
// fault.Quota.
func (s *Store) Put(ctx context.Context, reg Registry, name string, def Definition, by Actor) (sub Subscription, created bool, err error) {
	return Subscription{}, false, errNotYet
}

// Patch changes members of a subscription. Errors: as Put, and fault.NotFound
// (ResourceNotFound).
func (s *Store) Patch(ctx context.Context, reg Registry, name string, change Change, by Actor) (Subscription, error) {
	return Subscription{}, errNotYet
}

// Delete removes a subscription and what it was still owed. It fails with
// fault.NotFound (ResourceNotFound) if there is none.
func (s *Store) Delete(ctx context.Context, reg Registry, name string) error { return errNotYet }

// Get returns a subscription. It fails with fault.NotFound (ResourceNotFound).
func (s *Store) Get(ctx context.Context, reg Registry, name string) (Subscription, error) {
	return Subscription{}, errNotYet
}

// List returns the subscriptions of a registry, by name.
func (s *Store) List(ctx context.Context, reg Registry) ([]Subscription, error) {
	return nil, errNotYet
}

// FullURL returns the address of a webhook with its query. Errors: fault.Invalid
// (InvalidRequest) for another destination, fault.NotFound (ResourceNotFound).
func (s *Store) FullURL(ctx context.Context, reg Registry, name string) (string, error) {
	return "", errNotYet
}

// Attributes returns the delivery attributes with their secrets. It fails with
// fault.NotFound (ResourceNotFound).
func (s *Store) Attributes(ctx context.Context, reg Registry, name string) ([]Attribute, error) {
	return nil, errNotYet
}

// Validate asks the receiver once more whether it agrees, and returns the
// subscription as it is then. Errors: fault.Invalid (Url validation) if it does not,
// fault.NotFound (ResourceNotFound).
func (s *Store) Validate(ctx context.Context, reg Registry, name string) (Subscription, error) {
	return Subscription{}, errNotYet
}

// Confirm is what opening the address of a manual handshake does: events flow from
// now on. perMinute is how many requests the receiver allows, 0 for any number. It
// fails with fault.NotFound for a token that is none, or no more.
func (s *Store) Confirm(ctx context.Context, token string, perMinute int) (Subscription, error) {
	return Subscription{}, errNotYet
}

package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// maxListeners is how many listeners a registry may have: they do not count
// against its tier's limit, and cost as much as other webhooks.
const maxListeners = 100

// Listen makes a webhook that rings over a connection which whoever made it
// opens: its name is made up, and its service URI is listen:// and that name. Of
// def only location, scope, actions and tags count; without a location it is the
// registry's home, without actions it is those of ACR.
//
// Errors: as Put, and fault.Quota (QuotaExceeded) for a registry with many
// listeners.
func (s *Store) Listen(ctx context.Context, reg Registry, def Definition, by Actor) (w Webhook, err error) {
	def = Definition{Location: def.Location, Tags: def.Tags, Scope: def.Scope, Actions: def.Actions}
	if def.Location == "" {
		def.Location = reg.Locations[0]
	}
	if def.Actions == nil {
		for _, action := range event.Subscribable {
			if action.OfACR() {
				def.Actions = append(def.Actions, string(action))
			}
		}
	}
	if err := def.asChange().check(s.CheckURL); err != nil {
		return Webhook{}, err
	}
	location, err := place(reg, def.Location)
	if err != nil {
		return Webhook{}, err
	}
	name := "listen" + strings.ToLower(rand.Text()[:10])
	def.ServiceURI = "listen://" + name
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		have, err := countWebhooks(tx, reg.ID, true)
		if err != nil {
			return err
		}
		if have >= maxListeners {
			return fault.New(fault.Quota, "registry %s has %d of %d listeners: end one first", reg.Name, have, maxListeners).
				WithCode("QuotaExceeded")
		}
		w, err = s.create(tx, reg, Webhook{Name: name, Location: location, Listener: true}, def, by)
		return err
	})
	return w, err
}

// Unlisten removes a listener and what it was still owed. It fails with
// fault.NotFound (ResourceNotFound) if there is none of the name, also if that
// is another kind of webhook.
func (s *Store) Unlisten(ctx context.Context, reg Registry, name string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		row, err := selectWebhook(tx, reg.ID, nameKey(name))
		if errors.Is(err, sqldb.ErrNoRow) || err == nil && !row.Listener {
			return fault.New(fault.NotFound, "registry %s has no listener %q: it has ended", reg.Name, clip(name)).
				WithCode("ResourceNotFound")
		}
		if err != nil {
			return err
		}
		return s.remove(tx, row.Webhook)
	})
}

// Listeners returns the listeners of all registries.
func (s *Store) Listeners(ctx context.Context) (list []Webhook, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		list, err = selectListeners(tx)
		return err
	})
	return list, err
}

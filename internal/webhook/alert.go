package webhook

import (
	"context"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/signature"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// AlertsSecret returns the secret that alerts are signed with. It follows from
// the data key, so it is the same after each start.
func (s *Store) AlertsSecret() string { return s.alertsSecret().Reveal() }

func (s *Store) alertsSecret() signature.Secret { return signature.Of(s.Key.Derive("signing alerts")) }

// openAlerts returns the endpoint for alerts as Options say, nil for none. It
// keeps its deliveries from one start to the next, wherever they go by now.
func (s *Store) openAlerts(ctx context.Context) (*hook, error) {
	if s.Alerts != "" {
		if err := s.CheckURL(s.Alerts); err != nil {
			return nil, err
		}
	}
	var id int64
	err := s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		id, err = selectAlert(tx)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case s.Alerts == "" && id != 0:
		return nil, s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return s.Endpoints.Drop(tx, id) })
	case s.Alerts == "":
		return nil, nil
	case id == 0:
		err = s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) (err error) {
			id, err = s.Endpoints.Add(tx, "alert", 0, "")
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return &hook{
		id: id, rule: rule{enabled: true, actions: []event.Action{event.WebhookFailing}},
		terms: ring.Terms{Policy: ring.Default(), Host: outbound.HostOf(s.Alerts)},
		url:   s.Alerts, header: s.header(ACR, nil), secret: s.alertsSecret(), format: ACR,
	}, nil
}

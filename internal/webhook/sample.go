package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Ping rings one webhook, be it enabled or not, and returns the id of the event
// that does. source is the registry as its events name it. It fails with
// fault.NotFound (ResourceNotFound) if there is no such webhook, and with
// fault.Conflict while its address has to agree and does not.
func (s *Store) Ping(ctx context.Context, reg Registry, source event.Registry, name string) (eventID string, err error) {
	return s.try(ctx, reg, name, &event.Event{Action: event.Ping, Registry: source})
}

// Test rings one webhook, be it enabled or not and whatever it asks for, with a
// sample event: it looks like those of the action, and stands for no change. It
// returns the id of the event. by is the user who asks for it.
//
// Errors: as Ping, and fault.Invalid for an action that a webhook cannot ask for.
func (s *Store) Test(ctx context.Context, reg Registry, source event.Registry, name, action, by string) (eventID string, err error) {
	what, err := parseAction(action)
	if err != nil {
		return "", err
	}
	e := &event.Event{Action: what, Registry: source, Actor: by, Sample: true}
	e.Request = event.Request{
		ID: uuid.NewString(), Host: source.LoginServer, Method: "PUT",
		UserAgent: "Dockbell/" + s.Version + " (webhook test: nothing happened)",
	}
	fillSample(e)
	return s.try(ctx, reg, name, e)
}

// fillSample gives a sample what an event of its action has.
func fillSample(e *event.Event) {
	e.Target = event.Target{
		MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1574, Digest: sampleDigest("sample"),
		Repository: "dockbell/sample", Tag: "sample",
	}
	switch e.Action {
	case event.Delete:
		e.Request.Method = "DELETE"
		e.Target.Size, e.Target.Tag = 0, ""
	case event.ChartPush, event.ChartDelete:
		e.Target.MediaType, e.Target.Size = "application/vnd.acr.helm.chart", 25265
		e.Target.Tag, e.Target.Name, e.Target.Version = "sample-0.1.0.tgz", "sample", "0.1.0"
	case event.Untag:
		e.Request.Method = "DELETE"
		e.Target.Size = 0
	case event.TagMoved:
		e.Target.PreviousDigest = sampleDigest("before")
	case event.ReferrerAttached:
		e.Target.Tag, e.Target.SubjectDigest, e.Target.ArtifactType = "", sampleDigest("subject"), "application/spdx+json"
	case event.Pull:
		e.Request.Method = "GET"
	case event.WebhookFailing:
		e.Target = event.Target{}
		e.Webhook = &event.Webhook{
			Name: "samplehook", Condition: string(ring.Failing), Since: time.Now().UTC().Add(-time.Minute), LastStatus: 503,
		}
	}
}

// sampleDigest returns the digest of something that is not there.
func sampleDigest(tag string) string {
	sum := sha256.Sum256([]byte("dockbell/sample:" + tag))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// try appends an event that is owed to one webhook alone.
func (s *Store) try(ctx context.Context, reg Registry, name string, e *event.Event) (eventID string, err error) {
	err = s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		row, err := selectWebhook(tx, reg.ID, nameKey(name))
		if err != nil {
			return orUnknown(err, reg, name)
		}
		if err := row.MayRing(tx.Now(), false); err != nil {
			return err
		}
		e.OwedTo, e.Registry.Location = row.ID, row.Location
		return s.Outbox.Append(tx, outbox.Prepare(e))
	})
	return e.ID, err
}

package subscription

import (
	"context"
	"errors"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// SystemTopic is a registry as a source of events, under a name that somebody gave
// it. It says where its subscriptions are found, and nothing of what they are told.
type SystemTopic struct {
	RegistryID int64
	Name       string // as sent when it was created; names compare without case
	Tags       map[string]string
}

// SystemTopics returns those that somebody made, of all registries, by name: each
// has one at most.
func (s *Store) SystemTopics(ctx context.Context) (all []SystemTopic, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		all, err = selectTopics(tx)
		return err
	})
	return all, err
}

// PutSystemTopic creates the topic of a registry in a resource group, or replaces the tags of
// the one it has; created tells which. Errors: fault.Invalid for what breaks a rule,
// fault.Conflict if the registry has one of another name, or the group one of this
// name for another registry.
func (s *Store) PutSystemTopic(ctx context.Context, group string, t SystemTopic) (stored SystemTopic, created bool, err error) {
	if err := t.check(); err != nil {
		return SystemTopic{}, false, err
	}
	err = s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		if created, err = insertTopic(tx, strings.ToLower(group), t); err != nil || created {
			stored = t
			return err
		}
		stored, err = selectTopic(tx, t.RegistryID)
		switch {
		case errors.Is(err, sqldb.ErrNoRow):
			return fault.New(fault.Conflict, "the name %s is taken by the system topic of another registry in this resource group: use another one", t.Name)
		case err != nil:
			return err
		case !strings.EqualFold(stored.Name, t.Name):
			return fault.New(fault.Conflict, "the registry has the system topic %s already, and may have one: use that, or delete it first", stored.Name)
		}
		stored.Tags = t.Tags
		return updateTopic(tx, stored)
	})
	return stored, created, err
}

// DeleteSystemTopic forgets the topic of a registry, if it has one.
func (s *Store) DeleteSystemTopic(ctx context.Context, registry int64) error {
	return s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return deleteTopic(tx, registry) })
}

// Limits of a system topic: of its name Event Grid's, of its tags ARM's.
const (
	minTopicName, maxTopicName = 3, 128
	maxTopicTags               = 50
	maxTagName, maxTagValue    = 512, 256
)

func (t SystemTopic) check() error {
	wrong := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
	}
	if len(t.Name) < minTopicName || len(t.Name) > maxTopicName || strings.ContainsFunc(t.Name, wrong) {
		return fault.New(fault.Invalid, "system topic name %.80q is not valid: use %d to %d letters, digits and dashes", t.Name, minTopicName, maxTopicName)
	}
	if len(t.Tags) > maxTopicTags {
		return fault.New(fault.Invalid, "the system topic has %d tags: it may have %d", len(t.Tags), maxTopicTags)
	}
	for name, value := range t.Tags {
		if name == "" || len(name) > maxTagName || len(value) > maxTagValue {
			return fault.New(fault.Invalid, "tag %.80q is not valid: a name has 1 to %d bytes, a value at most %d", name, maxTagName, maxTagValue)
		}
	}
	return nil
}

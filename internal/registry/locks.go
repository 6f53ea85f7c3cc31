package registry

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// locks are the attributes of a repository, tag or manifest that are off; 0, as
// everything begins, forbids nothing. Statements that run anyway bring them along,
// and whatever they forbid rolls its transaction back. Those that change a
// repository, or the locks of anything in it, hold the repository's row from
// their start: a lock is in force for every change that begins after it.
type locks int64

// The bits, as they are stored.
const (
	lockDelete locks = 1 << iota
	lockWrite
	lockRead
	lockList
)

// gone is no attribute. A repository that was deleted as a whole has it, while
// something of it can be restored: no request finds it, and what it links stays. A
// push takes it off, with all locks, as if it made the repository.
const gone locks = 1 << 4

// Deleting is a change too: without write there is no delete.
const lockAnyDelete = lockDelete | lockWrite

// thing is what a lock is on: a repository, or the tag or manifest in it.
type thing struct {
	repo   oci.Repository
	tag    oci.Tag
	digest oci.Digest
}

func (t thing) String() string {
	switch {
	case t.tag != "":
		return "tag " + string(t.tag) + " of " + string(t.repo)
	case t.digest != "":
		return "manifest " + string(t.digest) + " of " + string(t.repo)
	}
	return "repository " + string(t.repo)
}

// allow fails with REGISTRY_DISALLOWED_OPERATION if one of the attributes is off
// that an operation needs.
func (l locks) allow(needs locks, of thing) error {
	l &= needs
	switch {
	case l == 0:
		return nil
	case l&lockDelete != 0:
		return oci.Disallowed(of.String(), "delete")
	case l&lockWrite != 0:
		return oci.Disallowed(of.String(), "write")
	}
	return oci.Disallowed(of.String(), "read")
}

// disallowed reports whether err is allow's.
func disallowed(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Code == oci.CodeDisallowed
}

func (l locks) attributes() oci.Attributes {
	return oci.Attributes{Delete: l&lockDelete == 0, Write: l&lockWrite == 0, Read: l&lockRead == 0, List: l&lockList == 0}
}

// lockChange makes new locks of old ones: old & keep | set.
type lockChange struct{ keep, set locks }

func newLockChange(c oci.AttributesChange) lockChange {
	change := lockChange{keep: lockDelete | lockWrite | lockRead | lockList}
	for _, a := range []struct {
		on  *bool
		bit locks
	}{{c.Delete, lockDelete}, {c.Write, lockWrite}, {c.Read, lockRead}, {c.List, lockList}} {
		if a.on == nil {
			continue
		}
		change.keep &^= a.bit
		if !*a.on {
			change.set |= a.bit
		}
	}
	return change
}

// changeText says which attributes get which value, in the words of ACR.
func changeText(c oci.AttributesChange) string {
	var words []string
	for _, a := range []struct {
		name string
		on   *bool
	}{{"deleteEnabled", c.Delete}, {"writeEnabled", c.Write}, {"readEnabled", c.Read}, {"listEnabled", c.List}} {
		if a.on != nil {
			words = append(words, a.name+"="+strconv.FormatBool(*a.on))
		}
	}
	return strings.Join(words, " ")
}

// setAttributes has set write a change to a thing, given the row id of its
// repository. No attribute keeps it off. A change of nothing leaves no trace.
func (h *handle) setAttributes(ctx context.Context, of thing, c oci.AttributesChange, set func(tx *sqldb.Tx, id int64, c lockChange) error) error {
	if c == (oci.AttributesChange{}) {
		return nil
	}
	return h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, _, err := lockRepository(tx, h.reg.ID, of.repo)
		if errors.Is(err, sqldb.ErrNoRow) {
			return oci.NameUnknown(of.repo)
		}
		if err != nil {
			return err
		}
		if err := set(tx, id, newLockChange(c)); err != nil {
			return err
		}
		return h.record(tx, metadataWrite, of, changeText(c))
	})
}

// SetRepositoryAttributes implements oci.Metadata.
func (h *handle) SetRepositoryAttributes(ctx context.Context, repo oci.Repository, c oci.AttributesChange) (oci.RepositoryDetails, error) {
	if err := h.setAttributes(ctx, thing{repo: repo}, c, setRepositoryLocks); err != nil {
		return oci.RepositoryDetails{}, err
	}
	return h.DescribeRepository(ctx, repo)
}

// SetTagAttributes implements oci.Metadata.
func (h *handle) SetTagAttributes(ctx context.Context, repo oci.Repository, tag oci.Tag, c oci.AttributesChange) (oci.TagDetails, error) {
	err := h.setAttributes(ctx, thing{repo: repo, tag: tag}, c, func(tx *sqldb.Tx, id int64, c lockChange) error {
		there, err := true, error(nil)
		if h.caller.Quarantine.on() {
			there, err = namesAny(tx, id, h.caller.Quarantine, tag)
		}
		if there && err == nil {
			there, err = setTagLocks(tx, id, tag, c)
		}
		if err == nil && !there {
			err = oci.TagUnknown(repo, tag)
		}
		return err
	})
	if err != nil {
		return oci.TagDetails{}, err
	}
	return h.DescribeTag(ctx, repo, tag)
}

// SetManifestAttributes implements oci.Metadata.
func (h *handle) SetManifestAttributes(ctx context.Context, repo oci.Repository, dgst oci.Digest, c oci.AttributesChange) (oci.ManifestDetails, error) {
	err := h.setAttributes(ctx, thing{repo: repo, digest: dgst}, c, func(tx *sqldb.Tx, id int64, c lockChange) error {
		if h.caller.Quarantine == Hidden {
			head, err := readManifestHead(tx, id, dgst)
			if err == nil && h.caller.Quarantine.hides(head.verdict) {
				err = oci.InQuarantine(repo, dgst)
			}
			if err != nil && !errors.Is(err, sqldb.ErrNoRow) {
				return err
			}
		}
		there, err := setManifestLocks(tx, id, dgst, c)
		if err == nil && !there {
			err = oci.ManifestUnknown(repo, oci.Reference{Digest: dgst})
		}
		return err
	})
	if err != nil {
		return oci.ManifestDetails{}, err
	}
	return h.DescribeManifest(ctx, repo, dgst)
}

package registry_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// noted returns an image that differs from others by a note.
func noted(config oci.Descriptor, note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"annotations":{"note":%q}}`,
		oci.MediaTypeImageManifest, oci.MediaTypeImageConfig, config.Digest, config.Size, note)
}

// as returns docker, to whom the registry's quarantine is q.
func as(q registry.Quarantine) registry.Caller {
	c := docker
	c.Quarantine = q
	return c
}

// ward is a repository with images that are called by letters, in a registry whose
// policy is switched on and off.
type ward struct {
	t      *testing.T
	db     *sqldb.DB
	store  *registry.Store
	repo   oci.Repository
	policy registry.Quarantine
	keep   bool // the policy of soft delete
	config oci.Descriptor
	names  map[oci.Digest]string
	seen   int // events
}

func newWard(t *testing.T, db *sqldb.DB, store *registry.Store, repo oci.Repository) *ward {
	w := &ward{t: t, db: db, store: store, repo: repo, policy: registry.Hidden, names: map[oci.Digest]string{}, seen: len(eventLog(t, db))}
	w.config = pushBlob(t, store.For(contoso, docker), repo, "{}")
	return w
}

// as returns the registry as someone sees it.
func (w *ward) as(q registry.Quarantine) oci.Contents {
	c := as(q)
	c.SoftDelete = w.keep
	return w.store.For(contoso, c)
}

func (w *ward) image(letter string) []byte {
	data := noted(w.config, letter)
	w.names[oci.FromBytes(oci.SHA256, data)] = letter
	return data
}

func (w *ward) digest(letter string) oci.Digest { return oci.FromBytes(oci.SHA256, w.image(letter)) }

func state(s oci.QuarantineState) oci.QuarantineChange { return oci.QuarantineChange{State: s} }

// do does what a line of a table says.
func (w *ward) do(op string) error {
	r := w.as(w.policy)
	words := strings.Fields(op)
	var what string
	if len(words) > 1 {
		what = words[1]
	}
	mark := func(s oci.QuarantineState) error {
		by := w.policy
		if by == registry.Hidden {
			by = registry.Seen
		}
		return second(w.as(by).SetQuarantine(bg, w.repo, w.digest(what), state(s)))
	}
	switch words[0] {
	case "on":
		w.policy = registry.Hidden
	case "off":
		w.policy = registry.NoQuarantine
	case "push":
		put := oci.ManifestPut{Data: w.image(what)}
		for _, tag := range words[2:] {
			put.Tags = append(put.Tags, oci.Tag(tag))
		}
		return second(r.PutManifest(bg, w.repo, put))
	case "pass":
		return mark(oci.Passed)
	case "fail":
		return mark(oci.Failed)
	case "hold":
		return mark(oci.Quarantined)
	case "delete":
		return r.DeleteManifest(bg, w.repo, w.digest(what))
	case "untag":
		return second(r.DeleteTag(bg, w.repo, oci.Tag(what)))
	case "keep", "drop": // what is deleted
		w.keep = words[0] == "keep"
	case "restore", "force":
		how := oci.Restoring{Force: words[0] == "force"}
		if len(words) > 2 {
			how.Tag = oci.Tag(words[2])
		}
		return second(r.Restore(bg, w.repo, w.digest(what), how))
	case "upload":
		pushBlob(w.t, r, w.repo, "{}")
	case "clear": // the whole repository
		return second(r.DeleteRepository(bg, w.repo))
	case "purge":
		return second(w.store.PurgeDeleted(bg, contoso, time.Now().Add(time.Hour)))
	case "upgrade": // from before pushes were counted
		return w.db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("UPDATE tag SET pushes = 0, settled = 0 WHERE repository = (SELECT id FROM repository WHERE name = $1)", string(w.repo))
			return err
		})
	case "close", "open": // the whole repository
		return second(w.as(registry.NoQuarantine).SetRepositoryAttributes(bg, w.repo, attribute("write", words[0] == "open")))
	case "seal":
		return second(w.as(registry.NoQuarantine).SetManifestAttributes(bg, w.repo, w.digest(what), attribute("write", false)))
	case "lock":
		return second(w.as(registry.NoQuarantine).SetTagAttributes(bg, w.repo, oci.Tag(what), attribute("write", false)))
	default:
		return fmt.Errorf("no such thing: %s", op)
	}
	return nil
}

// rings returns what was recorded since the last call, as action:tag=letter.
func (w *ward) rings() string {
	var all []string
	log := eventLog(w.t, w.db)
	for _, e := range log[w.seen:] {
		text := string(e.Event.Action) + ":"
		if tag := e.Event.Target.Tag; tag != "" {
			text += tag + "="
		}
		all = append(all, text+w.names[oci.Digest(e.Event.Target.Digest)])
	}
	w.seen = len(log)
	return strings.Join(all, " ")
}

// named returns what each tag names, as it is pulled, described and listed.
func (w *ward) named() string {
	r := w.as(w.policy)
	listed, _, err := r.Tags(bg, w.repo, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	described, _, err := r.DescribeTags(bg, w.repo, "", oci.DetailsPage{})
	if err != nil || len(described) != len(listed) {
		w.t.Fatalf("%d tags are listed, %d described: %v", len(listed), len(described), err)
	}
	if d, err := r.DescribeRepository(bg, w.repo); err != nil || d.TagCount != int64(len(listed)) {
		w.t.Errorf("%d tags are counted, %d listed: %v", d.TagCount, len(listed), err)
	}
	var all []string
	for i, tag := range listed {
		m, err := r.GetManifest(bg, w.repo, oci.Reference{Tag: tag})
		if err != nil {
			w.t.Errorf("%s is listed: %v", tag, err)
			continue
		}
		one, err := r.DescribeTag(bg, w.repo, tag)
		if err != nil || one.Digest != m.Descriptor.Digest || described[i] != one {
			w.t.Errorf("%s is %s, described as %+v, %v, and in the list as %+v", tag, m.Descriptor.Digest, one, err, described[i])
		}
		of, _, err := r.DescribeTags(bg, w.repo, m.Descriptor.Digest, oci.DetailsPage{})
		if err != nil || !slices.Contains(of, one) {
			w.t.Errorf("%s is not among the tags of %s: %v %v", tag, m.Descriptor.Digest, of, err)
		}
		d, err := r.DescribeManifest(bg, w.repo, m.Descriptor.Digest)
		if err != nil || !slices.Contains(d.Tags, tag) || len(d.Tags) != len(of) {
			w.t.Errorf("%s is not among the tags of %+v: %v", tag, d, err)
		}
		all = append(all, string(tag)+"="+w.names[m.Descriptor.Digest])
	}
	for _, tag := range []oci.Tag{"v1", "v2"} {
		if slices.Contains(listed, tag) {
			continue
		}
		if _, err := r.GetManifest(bg, w.repo, oci.Reference{Tag: tag}); err == nil || fault.As(err).Code != oci.CodeManifestUnknown {
			w.t.Errorf("%s is not listed: %v", tag, err)
		}
		if _, err := r.DescribeTag(bg, w.repo, tag); err == nil || fault.As(err).Code != oci.CodeTagUnknown {
			w.t.Errorf("%s is not listed: %v", tag, err)
		}
	}
	return strings.Join(all, " ")
}

// tagRules has what tags name and what rings after each of a row of changes. What is
// not followed by | names nothing; behind the second | is what rang.
var tagRules = map[string]string{
	"a push waits until it has passed": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		pass B | v1=B | push:v1=B`,
	"what failed stays out": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		fail B | v1=A |
		push C v1 | v1=A | quarantine:v1=C
		pass C | v1=C | push:v1=C`,
	"what failed may pass later": `
		push A v1 | | quarantine:v1=A
		fail A | |
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		pass A | v1=A |`,
	"several wait, and pass in their order": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		push C v1 | | quarantine:v1=C
		pass A | v1=A | push:v1=A
		pass B | v1=B | push:v1=B
		pass C | v1=C | push:v1=C`,
	"several wait, and the newest passes first": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		push C v1 | | quarantine:v1=C
		pass C | v1=C | push:v1=C
		pass B | v1=C | push:B
		pass A | v1=C | push:A`,
	"the one in the middle passes first": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		push C v1 | | quarantine:v1=C
		pass B | v1=B | push:v1=B
		pass A | v1=B | push:A
		pass C | v1=C | push:v1=C`,
	"one is pushed again while another waits": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		push A v1 | | quarantine:v1=A
		pass B | v1=B | push:v1=B
		pass A | v1=A | push:v1=A`,
	"one that has passed is pushed over one that waits": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		push A v1 | v1=A | push:v1=A
		pass B | v1=A | push:B`,
	"a second tag for what has passed": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push A v2 | v1=A v2=A | push:v2=A`,
	"two tags wait for one": `
		push A v1 v2 | | quarantine:v1=A quarantine:v2=A
		push B v2 | | quarantine:v2=B
		pass B | v2=B | push:v2=B
		pass A | v1=A v2=B | push:v1=A push:A`,
	"a push by digest": `
		push A | | quarantine:A
		push A | | quarantine:A
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:A push:v1=A`,
	"a mark is taken back": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		pass B | v1=B | push:v1=B
		fail B | |
		hold B | |
		pass B | v1=B |`,
	"the mark of what stands is taken back": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		fail A | |
		pass A | v1=A |
		fail A | |
		pass B | v1=B | push:v1=B
		pass A | v1=B |`,
	"what waits is deleted": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		push C v1 | v1=A | quarantine:v1=C
		delete C | v1=A | delete:C
		pass B | v1=B | push:v1=B
		push C v1 | v1=B | quarantine:v1=C
		delete C | v1=B | delete:C
		push D v1 | v1=B | quarantine:v1=D
		pass D | v1=D | push:v1=D`,
	"what waits is deleted, and nothing has passed": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		delete B | | delete:B
		pass A | v1=A | push:v1=A`,
	"all that waits is deleted": `
		push A v1 | | quarantine:v1=A
		delete A | | delete:A
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A`,
	"what stands is deleted": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		delete A | | delete:A
		pass B | v1=B | push:v1=B`,
	"the one that moved the tag last is deleted": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		pass B | v1=B | push:v1=B
		delete B | | delete:B
		push C v1 | | quarantine:v1=C
		pass A | | push:A
		pass C | v1=C | push:v1=C`,
	"the tag is deleted": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		untag v1 | |
		pass B | | push:B
		push C v1 | | quarantine:v1=C
		pass C | v1=C | push:v1=C`,
	"the tag is deleted and made again": `
		push A v1 | | quarantine:v1=A
		push B v1 | | quarantine:v1=B
		untag v1 | |
		push C v1 | | quarantine:v1=C
		pass B | | push:B
		pass C | v1=C | push:v1=C
		pass A | v1=C | push:A`,
	"the policy is switched on": `
		off | |
		push A v1 | v1=A | push:v1=A
		on | |
		push B v1 | | quarantine:v1=B
		pass A | v1=A |
		pass B | v1=B | push:v1=B`,
	"a database from before": `
		off | |
		push A v1 | v1=A | push:v1=A
		upgrade | v1=A |
		on | |
		push B v1 | | quarantine:v1=B
		push C v1 | | quarantine:v1=C
		pass A | v1=A |
		pass C | v1=C | push:v1=C
		pass B | v1=C | push:B`,
	"what was there before is pushed again": `
		off | |
		push A v1 | v1=A | push:v1=A
		on | |
		push A v1 | | quarantine:v1=A
		delete A | | delete:A
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A`,
	"the policy is switched off": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		fail B | v1=A |
		off | v1=B |
		on | v1=A |
		off | v1=B |
		pass B | v1=B | push:v1=B
		on | v1=B |`,
	"a push while it is off": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		off | v1=B |
		push C v1 | v1=C | push:v1=C
		on | |
		pass B | | push:B
		pass C | v1=C |`,
	"what waited is deleted while it is off": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		off | v1=B |
		delete B | | delete:B
		on | |`,
	"images are marked before it is switched on": `
		off | |
		push A v1 | v1=A | push:v1=A
		push B v2 | v1=A v2=B | push:v2=B
		pass A | v1=A v2=B |
		on | v1=A |
		push A v2 | v1=A v2=A | push:v2=A
		push B v2 | v1=A v2=A | quarantine:v2=B`,
	"a lock keeps what waits from passing": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		lock v1 | v1=A |
		pass B ! | v1=A |
		push C v1 ! | v1=A |
		fail B | v1=A |
		delete A ! | v1=A |
		delete B | v1=A | delete:B`,
	"a repository is locked": `
		push A v1 | | quarantine:v1=A
		pass A | v1=A | push:v1=A
		push B v1 | v1=A | quarantine:v1=B
		push C | v1=A | quarantine:C
		close | v1=A |
		pass B ! | v1=A |
		pass C | v1=A | push:C
		open | v1=A |
		pass B | v1=B | push:v1=B`,
}

func TestTagRules(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		store := openStore(t, db, t.TempDir())
		n := 0
		for name, rows := range tagRules {
			n++
			w := newWard(t, db, store, oci.Repository(fmt.Sprint("ward", n)))
			for line := range strings.Lines(strings.TrimSpace(rows)) {
				cells := strings.Split(strings.TrimSpace(line), "|")
				op, refused := strings.CutSuffix(strings.TrimSpace(cells[0]), " !")
				err := w.do(op)
				if refused != isDisallowed(err) || err != nil && !refused {
					t.Errorf("%s: %s: %v", name, op, err)
				}
				if got, want := w.named(), strings.TrimSpace(cells[1]); got != want {
					t.Errorf("%s: after %s: %q, want %q", name, op, got, want)
				}
				if got, want := w.rings(), strings.TrimSpace(cells[2]); got != want {
					t.Errorf("%s: %s rings %q, want %q", name, op, got, want)
				}
			}
		}
	})
}

// TestPassedPushIsTheFirst sees that the push event which a mark lets go tells of the
// push, not of who marked.
func TestPassedPushIsTheFirst(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		w := newWard(t, db, openStore(t, db, t.TempDir()), "app")
		if err := w.do("push A v1"); err != nil {
			t.Fatal(err)
		}
		scanner := registry.Caller{
			Request: event.Request{ID: "0e7e6a00-3a41-4f0d-a0de-37a2ef0f4c55", Host: "scanner.example", Method: "PATCH", UserAgent: "scanner/1", Addr: "192.0.2.9"},
			Actor:   "scanner", Quarantine: registry.Seen,
		}
		if err := second(w.store.For(contoso, scanner).SetQuarantine(bg, w.repo, w.digest("A"), state(oci.Passed))); err != nil {
			t.Fatal(err)
		}
		log := eventLog(t, db)
		if len(log) != 2 {
			t.Fatalf("%d events", len(log))
		}
		first, second := log[0], log[1]
		if first.Event.Request != docker.Request || second.Event.Request != docker.Request || second.Event.Actor != docker.Actor {
			t.Errorf("%+v, then %+v", first.Event, second.Event)
		}
		const target = `"size":%d,"digest":%q,"length":%[1]d,"repository":"app","tag":"v1"},"request":{"id":%[3]q,"host":"contoso.example","method":"PUT"`
		size := len(w.image("A"))
		for i, want := range []string{
			fmt.Sprintf(`{"id":%q,"timestamp":%q,"action":"quarantine","target":{`, first.Event.ID, first.Event.Timestamp()) +
				fmt.Sprintf(target, size, w.digest("A"), docker.Request.ID) + `}}`,
			fmt.Sprintf(`{"id":%q,"timestamp":%q,"action":"push","target":{"mediaType":%q,`, second.Event.ID, second.Event.Timestamp(), oci.MediaTypeImageManifest) +
				fmt.Sprintf(target, size, w.digest("A"), docker.Request.ID) + `,"useragent":"docker/27.3.1"}}`,
		} {
			if got := string(log[i].ACRBody); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	})
}

// TestStateHoldsForFamily marks an index: the state holds for what it lists, deep
// down, and for what refers to any of it, and for nothing else.
func TestStateHoldsForFamily(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		w := newWard(t, db, openStore(t, db, t.TempDir()), "app")
		r := w.as(registry.Hidden)
		put := func(name string, data []byte, tags ...oci.Tag) oci.Descriptor {
			t.Helper()
			result, err := r.PutManifest(bg, w.repo, oci.ManifestPut{Data: data, Tags: tags})
			if err != nil {
				t.Fatal(err)
			}
			w.names[result.Descriptor.Digest] = name
			return result.Descriptor
		}
		index := func(of ...oci.Descriptor) []byte {
			data := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, oci.MediaTypeImageIndex)
			for i, d := range of {
				if i > 0 {
					data = append(data, ',')
				}
				data = fmt.Appendf(data, `{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
			}
			return append(data, "]}"...)
		}
		refers := func(to oci.Descriptor) []byte {
			return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"application/signature","config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
				oci.MediaTypeImageManifest, oci.MediaTypeImageConfig, w.config.Digest, w.config.Size, to.MediaType, to.Digest, to.Size)
		}
		amd := put("amd", noted(w.config, "amd"))
		arm := put("arm", noted(w.config, "arm"), "arm")
		inner := put("inner", index(arm))
		outer := put("outer", index(amd, inner), "v1")
		signature := put("signature", refers(amd))
		attestation := put("attestation", refers(signature))
		other := put("other", noted(w.config, "other"), "other")
		all := []oci.Descriptor{amd, arm, inner, outer, signature, attestation, other}
		states := func() (got string) {
			for _, d := range all {
				m, err := w.as(registry.Seen).DescribeManifest(bg, w.repo, d.Digest)
				if err != nil {
					t.Fatal(err)
				}
				got += string(m.Quarantine[0])
				_, err = r.GetManifest(bg, w.repo, oci.Reference{Digest: d.Digest})
				if visible := m.Quarantine == oci.Passed; visible != (err == nil) || !visible && !isDisallowed(err) {
					t.Errorf("%s is %s: %v", w.names[d.Digest], m.Quarantine, err)
				}
			}
			return got
		}
		referrers := func() (n int) {
			found, _, err := r.Referrers(bg, w.repo, amd.Digest, "", "", 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		}
		mark := func(d oci.Descriptor, s oci.QuarantineState) {
			t.Helper()
			if err := second(w.as(registry.Seen).SetQuarantine(bg, w.repo, d.Digest, state(s))); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(wantStates string, wantReferrers int, wantRings string) {
			t.Helper()
			if got := states(); got != wantStates {
				t.Errorf("the states are %s, want %s", got, wantStates)
			}
			if got := referrers(); got != wantReferrers {
				t.Errorf("%d referrers, want %d", got, wantReferrers)
			}
			if got := w.rings(); got != wantRings {
				t.Errorf("it rings %s\nwant     %s", got, wantRings)
			}
		}
		expect("QQQQQQQ", 0, "quarantine:amd quarantine:arm=arm quarantine:inner quarantine:v1=outer quarantine:signature quarantine:attestation quarantine:other=other")
		mark(outer, oci.Passed)
		expect("PPPPPPQ", 1, "push:amd push:arm=arm push:inner push:v1=outer push:signature push:attestation")
		mark(inner, oci.Failed)
		expect("PFFPPPQ", 1, "")
		mark(amd, oci.Quarantined)
		expect("QFFPQQQ", 0, "")
		mark(outer, oci.Passed)
		expect("PPPPPPQ", 1, "")

		// What refers to something that has passed is something new.
		late := put("late", noted(w.config, "late"))
		sign := put("sign", refers(arm))
		all = []oci.Descriptor{late, sign, arm}
		expect("QQP", 1, "quarantine:late quarantine:sign")
		mark(sign, oci.Passed)
		expect("QPP", 1, "push:sign")

		// A large family.
		var many []oci.Descriptor
		for i := range 250 {
			many = append(many, put("one", noted(w.config, fmt.Sprint(i))))
		}
		w.rings()
		mark(put("large", index(many...)), oci.Passed)
		if rings := strings.Fields(w.rings()); len(rings) != 252 || rings[0] != "quarantine:large" || rings[1] != "push:one" || rings[251] != "push:large" {
			t.Errorf("%d rings: %v", len(rings), rings)
		}
	})
}

// TestQuarantineMarks has what is stored of a mark, what is refused, and what is on
// record.
func TestQuarantineMarks(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		w := newWard(t, db, openStore(t, db, t.TempDir()), "app")
		if err := w.do("push A v1"); err != nil {
			t.Fatal(err)
		}
		a, off := w.digest("A"), registry.NoQuarantine
		describe := func(q registry.Quarantine) string {
			t.Helper()
			d, err := w.as(q).DescribeManifest(bg, w.repo, a)
			if err != nil {
				return "refused"
			}
			return strings.TrimSpace(fmt.Sprintf("%s %s %v %t", d.Quarantine, d.QuarantineDetails, d.Tags, d.Attributes.Write))
		}
		details, none := `{"state":"looked at"}`, ""
		for _, tt := range []struct {
			change           oci.QuarantineChange
			seen, hidden, is string // is: where the policy is off
		}{
			{oci.QuarantineChange{}, "Quarantined  [v1] true", "refused", "Quarantined  [v1] true"},
			{oci.QuarantineChange{Details: &details}, "Quarantined " + details + " [v1] true", "refused", "Quarantined " + details + " [v1] true"},
			{oci.QuarantineChange{State: oci.Failed, Attributes: attribute("write", false)}, "Failed " + details + " [v1] false", "refused", "Failed " + details + " [v1] false"},
			{oci.QuarantineChange{State: oci.Passed, Details: &none, Attributes: attribute("write", true)}, "Passed  [v1] true", "Passed  [v1] true", "Passed  [v1] true"},
		} {
			if err := second(w.as(registry.Seen).SetQuarantine(bg, w.repo, a, tt.change)); err != nil {
				t.Fatal(err)
			}
			if seen, hidden, is := describe(registry.Seen), describe(registry.Hidden), describe(off); seen != tt.seen || hidden != tt.hidden || is != tt.is {
				t.Errorf("after %+v: %s, %s, %s", tt.change, seen, hidden, is)
			}
		}
		for want, err := range map[string]error{
			oci.CodeManifestUnknown: second(w.as(registry.Seen).SetQuarantine(bg, w.repo, subject, state(oci.Passed))),
			oci.CodeNameUnknown:     second(w.as(registry.Seen).SetQuarantine(bg, "none", a, state(oci.Passed))),
		} {
			if err == nil || fault.As(err).Code != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		// Attributes of what is held back are not for those who do not see it; nor are
		// those of a tag that names nothing.
		if err := w.do("push B v2"); err != nil {
			t.Fatal(err)
		}
		if err := second(w.as(registry.Hidden).SetManifestAttributes(bg, w.repo, w.digest("B"), attribute("write", false))); !isDisallowed(err) {
			t.Errorf("a lock on what is held back: %v", err)
		}
		if err := second(w.as(registry.Seen).SetTagAttributes(bg, w.repo, "v2", attribute("write", false))); err == nil || fault.As(err).Code != oci.CodeTagUnknown {
			t.Errorf("a lock on a tag that waits: %v", err)
		}
		if err := w.do("pass B"); err != nil {
			t.Errorf("they left a lock: %v", err)
		}
		// Repositories that show nothing.
		if err := second(w.as(registry.Hidden).PutManifest(bg, "team/web", oci.ManifestPut{Data: noted(pushBlob(t, w.as(off), "team/web", "{}"), "x"), Tags: []oci.Tag{"v1"}})); err != nil {
			t.Fatal(err)
		}
		for q, want := range map[registry.Quarantine]string{registry.Hidden: "[app]", registry.Seen: "[app team/web]", off: "[app team/web]"} {
			repos, _, err := w.as(q).Repositories(bg, "", 0)
			if fmt.Sprint(repos) != want || err != nil {
				t.Errorf("repositories: %v, %v, want %s", repos, err, want)
			}
			d, err := w.as(q).DescribeRepository(bg, "team/web")
			tags := int64(0)
			if q == off {
				tags = 1
			}
			if err != nil || d.ManifestCount != 1 || d.TagCount != tags {
				t.Errorf("%+v, %v", d, err)
			}
			manifests, _, err := w.as(q).DescribeManifests(bg, "team/web", oci.DetailsPage{})
			if hidden := q == registry.Hidden; err != nil || hidden != (len(manifests) == 0) {
				t.Errorf("%d manifests, %v", len(manifests), err)
			}
		}
		// A repository that goes takes along what waits.
		if err := second(w.as(registry.Hidden).DeleteRepository(bg, "team/web")); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, "SELECT count(*) FROM held_push"); n != 0 {
			t.Errorf("%d pushes wait for nothing", n)
		}
	})
}

// count returns the number that a query counts.
func count(t *testing.T, db *sqldb.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.Read(bg, func(tx *sqldb.Tx) error { return tx.Get(query, args, &n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestQuarantineUnderLoad pushes images to the same tags, passes and fails them, from
// many sides at once, on PostgreSQL at two nodes. The events, which are in the order
// of the changes, must make sense by the rules of tags, and lead to what is there in
// the end.
func TestQuarantineUnderLoad(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		w := newWard(t, db, openStore(t, db, blobs), "app")
		stores := []*registry.Store{w.store}
		if db.Dialect() == "postgres" {
			stores = append(stores, openStore(t, open(), blobs))
		}
		const letters = "abcdefghijXYZ" // of which the capitals never pass
		tags := []oci.Tag{"v1", "v2", "v3"}
		images, digests := map[string][]byte{}, map[string]oci.Digest{}
		for _, l := range strings.Split(letters, "") {
			images[l], digests[l] = w.image(l), w.digest(l)
		}
		var workers sync.WaitGroup
		for n := range 6 {
			workers.Go(func() {
				random := rand.New(rand.NewPCG(7, uint64(n)))
				r := stores[n%len(stores)].For(contoso, as(registry.Seen))
				for range 80 {
					l := string(letters[random.IntN(len(letters))])
					tag := tags[random.IntN(len(tags))]
					var err error
					switch chance := random.IntN(10); {
					case chance < 5:
						put := oci.ManifestPut{Data: images[l], Tags: []oci.Tag{tag}}
						if chance == 0 {
							put.Tags = tags
						}
						err = second(r.PutManifest(bg, w.repo, put))
					case chance < 7 && l >= "a":
						err = second(r.SetQuarantine(bg, w.repo, digests[l], state(oci.Passed)))
					case chance < 8:
						err = second(r.SetQuarantine(bg, w.repo, digests[l], state(oci.Failed)))
					default:
						var m *oci.Manifest
						m, err = r.GetManifest(bg, w.repo, oci.Reference{Tag: tag})
						if err == nil && w.names[m.Descriptor.Digest] < "a" {
							t.Errorf("%s leads to %s", tag, w.names[m.Descriptor.Digest])
						}
					}
					if err != nil && !fault.Is(err, fault.NotFound) {
						t.Error(err)
					}
				}
			})
		}
		workers.Wait()

		// What the events tell, by the rules.
		type push struct{ image, tag string }
		waiting := map[push]int{} // number of the push
		pushes, settled, names := map[string]int{}, map[string]int{}, map[string]string{}
		for i, e := range eventLog(t, db) {
			p := push{w.names[oci.Digest(e.Event.Target.Digest)], e.Event.Target.Tag}
			number, released := waiting[p]
			switch {
			case e.Event.Action == event.Quarantine:
				pushes[p.tag]++
				waiting[p] = pushes[p.tag]
				continue
			case p.image < "a":
				t.Errorf("event %d: %s rings push", i, p.image)
			case p.tag == "": // of pushes that can move nothing any more
				found := false
				for old, number := range waiting {
					if old.image == p.image && number < settled[old.tag] {
						delete(waiting, old)
						found = true
					}
				}
				if !found {
					t.Errorf("event %d: a push of %s without a tag, for which none waited", i, p.image)
				}
				continue
			case released:
				delete(waiting, p)
			default: // it had passed already
				pushes[p.tag]++
				number = pushes[p.tag]
			}
			if number <= settled[p.tag] {
				t.Errorf("event %d: %s moves to %s of push %d, after one of push %d", i, p.tag, p.image, number, settled[p.tag])
			}
			settled[p.tag], names[p.tag] = number, p.image
		}
		for _, tag := range tags {
			want := names[string(tag)]
			d, err := w.as(registry.Seen).DescribeManifest(bg, w.repo, digests[want])
			if err != nil {
				t.Fatal(err)
			}
			m, err := w.as(registry.Hidden).GetManifest(bg, w.repo, oci.Reference{Tag: tag})
			if passed := d.Quarantine == oci.Passed; passed != (err == nil) || passed && m.Descriptor.Digest != digests[want] {
				t.Errorf("%s should lead to %s, which is %s: %v", tag, want, d.Quarantine, err)
			}
		}
		if n := count(t, db, "SELECT count(*) FROM held_push"); n != len(waiting) {
			t.Errorf("%d pushes wait, the events tell of %d", n, len(waiting))
		}
		if n := count(t, db, "SELECT count(*) FROM held_push h JOIN manifest m ON m.id = h.manifest WHERE m.quarantine = 1"); n != 0 {
			t.Errorf("%d pushes wait for what has passed", n)
		}
	})
}

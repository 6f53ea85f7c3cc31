package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// contoso is the hosted registry of these tests, fabrikam one beside it, and curl
// their client.
var (
	contoso  = event.Registry{ID: 1, Name: "contoso", LoginServer: "contoso.dockbell.localhost", ResourceID: "/subscriptions/s/registries/contoso", Location: "local"}
	fabrikam = event.Registry{ID: 2, Name: "fabrikam", Location: "local"}
	curl     = Caller{Request: event.Request{ID: "b1f1a3f4", Host: "contoso.example", Method: "PUT", UserAgent: "curl/8", Addr: "192.0.2.7"}, Actor: "contoso"}
)

// fixture is a Store and what it stands on.
type fixture struct {
	*Store
	t     testing.TB
	files string // folder of the blob store
}

func newFixture(t testing.TB, db *sqldb.DB, files string) *fixture {
	t.Helper()
	blobs, err := fs.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	return &fixture{New(Options{DB: db, Blobs: blobs, Outbox: outbox.New(func(outbox.Entry) {}), Log: slog.New(slog.DiscardHandler)}), t, files}
}

// contoso returns the charts of that registry.
func (f *fixture) contoso() *Handle { return f.For(contoso, curl) }

// each runs a test on both engines.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) { test(t, newFixture(t, open(), t.TempDir())) })
}

// packageOf returns a package; filler is what makes it large and unlike others.
func packageOf(name, version string, filler ...byte) []byte {
	return pack(packed{name: name + "/Chart.yaml", text: "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"},
		packed{name: name + "/filler", text: string(filler)})
}

// noise returns bytes that no compression makes fewer.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// provenanceOf returns a provenance file as far as it is looked at.
func provenanceOf(data []byte) []byte {
	return fmt.Appendf(nil, "-----BEGIN PGP SIGNED MESSAGE-----\nfiles:\n  x.tgz: %s\n", oci.FromBytes(oci.SHA256, data))
}

func (f *fixture) push(h *Handle, name, version string, filler ...byte) []byte {
	f.t.Helper()
	data := packageOf(name, version, filler...)
	if err := h.Create(f.t.Context(), packageFile(name, version), bytes.NewReader(data)); err != nil {
		f.t.Fatal(err)
	}
	return data
}

// content reads a file, or says that it is not there.
func (f *fixture) content(h *Handle, name string) string {
	f.t.Helper()
	b, err := h.Open(f.t.Context(), name)
	if fault.As(err) != nil && fault.As(err).Code == CodeNotFound {
		return "not found"
	}
	if err != nil {
		f.t.Fatal(err)
	}
	defer b.Content.Close()
	data, err := io.ReadAll(b.Content)
	if err != nil || int64(len(data)) != b.Descriptor.Size || oci.FromBytes(oci.SHA256, data) != b.Descriptor.Digest {
		f.t.Fatalf("%s: %d bytes, %v, %+v", name, len(data), err, b.Descriptor)
	}
	return string(data)
}

// helmIndex is what Helm reads of index.yaml.
type helmIndex struct {
	APIVersion string                     `json:"apiVersion"`
	Entries    map[string][]versionObject `json:"entries"`
	Generated  string                     `json:"generated"`
}

// index reads index.yaml, and checks that the other lists say the same.
func (f *fixture) index(h *Handle) (index helmIndex) {
	f.t.Helper()
	b, err := h.Index(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := io.ReadAll(b.Content)
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil || index.APIVersion != "v1" || index.Generated == "" || oci.FromBytes(oci.SHA256, text) != b.Descriptor.Digest {
		f.t.Fatalf("%v in %s", err, text)
	}
	var asYAML helmIndex
	if err := yaml.UnmarshalStrict(text, &asYAML); err != nil || !reflect.DeepEqual(asYAML, index) {
		f.t.Fatalf("%v in YAML %s", err, text)
	}
	same := func(what string, list json.RawMessage, err error, want any) {
		f.t.Helper()
		encoded, jsonErr := json.Marshal(want)
		if err != nil || jsonErr != nil {
			f.t.Fatal(what, err, jsonErr)
		}
		var a, b any
		if err := errors.Join(json.Unmarshal(list, &a), json.Unmarshal(encoded, &b)); err != nil {
			f.t.Fatal(what, err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			f.t.Errorf("%s differs from the index (-index +list):\n%s", what, diff)
		}
	}
	charts, err := h.Charts(f.t.Context())
	same("the list of all", charts, err, index.Entries)
	for name, versions := range index.Entries {
		list, err := h.Versions(f.t.Context(), name)
		same(name, list, err, versions)
		for _, v := range versions {
			one, err := h.Version(f.t.Context(), name, v.Version)
			same(name+" "+v.Version, one, err, v)
		}
	}
	return index
}

// versions returns what is in the index, in its order.
func (f *fixture) versions(h *Handle) string {
	f.t.Helper()
	var all []string
	index := f.index(h)
	for _, name := range slices.Sorted(maps.Keys(index.Entries)) {
		for _, v := range index.Entries[name] {
			all = append(all, v.Name+" "+v.Version)
		}
	}
	return strings.Join(all, ", ")
}

func (f *fixture) events() (entries []outbox.Entry) {
	f.t.Helper()
	err := f.DB.Read(context.Background(), func(tx *sqldb.Tx) (err error) {
		entries, err = outbox.After(tx, 0, 10_000)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return entries
}

// stored returns the files in the blob store, staged and kept.
func (f *fixture) stored() (files []string) {
	f.t.Helper()
	for _, pattern := range []string{"uploads/*", "blobs/*/*/*"} {
		found, err := filepath.Glob(filepath.Join(f.files, pattern))
		if err != nil {
			f.t.Fatal(err)
		}
		for _, file := range found {
			rel, err := filepath.Rel(f.files, file)
			if err != nil {
				f.t.Fatal(err)
			}
			files = append(files, rel)
		}
	}
	return files
}

// consistent checks that the tables agree with each other and with the blob store.
func (f *fixture) consistent(registry event.Registry) {
	f.t.Helper()
	err := f.DB.Read(context.Background(), func(tx *sqldb.Tx) error {
		var entries, size, wantEntries, wantSize, alone int64
		err := tx.Get("SELECT coalesce(sum(entries), 0), coalesce(sum(size), 0) FROM chart_index WHERE registry = $1", []any{registry.ID}, &entries, &size)
		if err == nil {
			err = tx.Get("SELECT coalesce(sum(octet_length(c.entry)), 0), coalesce(sum(c.size + coalesce(length(k.provenance), 0)), 0) FROM chart c JOIN chart_content k ON k.chart = c.id WHERE c.registry = $1",
				[]any{registry.ID}, &wantEntries, &wantSize)
		}
		if err == nil {
			err = tx.Get("SELECT (SELECT count(*) FROM chart) - (SELECT count(*) FROM chart_content)", nil, &alone)
		}
		if err != nil {
			return err
		}
		if entries != wantEntries || size != wantSize || alone != 0 {
			f.t.Errorf("the index has %d bytes of entries and %d of files, of which there are %d and %d; %d rows without content", entries, size, wantEntries, wantSize, alone)
		}
		files := f.stored()
		if len(files) == 0 {
			return nil
		}
		named, err := f.Named(tx, files)
		slices.Sort(named)
		slices.Sort(files)
		if diff := cmp.Diff(files, named); err != nil || diff != "" {
			f.t.Errorf("files without a row (-), %v:\n%s", err, diff)
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// Every change leaves exactly the events it should, and the index says at once what
// there is. Each step is done with a package in the database, and with one in a
// file.
func TestChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		for i, filler := range [][]byte{[]byte("x"), noise(1, 200_000)} {
			reg := event.Registry{ID: int64(10 + i), Name: fmt.Sprint("reg", i), Location: "local"}
			h, ctx := f.For(reg, curl), t.Context()
			first, second, other := packageOf("hello", "0.1.0", filler...), packageOf("hello", "0.1.0", append(filler, 'y')...), packageOf("hello", "0.2.0+b", filler...)
			put := func(do func(context.Context, string, io.Reader) error, name string, data []byte) func() error {
				return func() error { return do(ctx, name, bytes.NewReader(data)) }
			}
			steps := []struct {
				name   string
				do     func() error
				code   string // of the refusal
				events string // action, tag, version, and whether of the first package
				index  string
			}{
				{"overwrite what is not there", put(h.Replace, "hello-0.1.0.tgz", first), CodeNotFound, "", ""},
				{"push", put(h.Create, "hello-0.1.0.tgz", first), "", "chart_push hello-0.1.0.tgz 0.1.0 first", "hello 0.1.0"},
				{"push again", put(h.Create, "hello-0.1.0.tgz", first), CodeExists, "", "hello 0.1.0"},
				{"push another under its name", put(h.Create, "hello-0.1.0.tgz", second), CodeExists, "", "hello 0.1.0"},
				{"push under a wrong name", put(h.Create, "hello-0.3.0.tgz", first), CodeInvalid, "", "hello 0.1.0"},
				{"push under no name", put(h.Create, "hello", first), CodeInvalid, "", "hello 0.1.0"},
				{"push what is no package", put(h.Create, "hello-0.3.0.tgz", filler), CodeInvalid, "", "hello 0.1.0"},
				{"push a second version", put(h.Create, "hello-0.2.0+b.tgz", other), "", "chart_push hello-0.2.0+b.tgz 0.2.0+b", "hello 0.2.0+b, hello 0.1.0"},
				{"provenance of another package", put(h.Create, "hello-0.1.0.tgz.prov", provenanceOf(second)), CodeInvalid, "", "hello 0.2.0+b, hello 0.1.0"},
				{"overwrite provenance that is not there", put(h.Replace, "hello-0.1.0.tgz.prov", provenanceOf(first)), CodeNotFound, "", "hello 0.2.0+b, hello 0.1.0"},
				{"provenance", put(h.Create, "hello-0.1.0.tgz.prov", provenanceOf(first)), "", "", "hello 0.2.0+b, hello 0.1.0"},
				{"provenance again", put(h.Create, "hello-0.1.0.tgz.prov", provenanceOf(first)), CodeExists, "", "hello 0.2.0+b, hello 0.1.0"},
				{"overwrite provenance", put(h.Replace, "hello-0.1.0.tgz.prov", append(provenanceOf(first), '\n')), "", "", "hello 0.2.0+b, hello 0.1.0"},
				{"provenance of no package", put(h.Create, "hello-0.3.0.tgz.prov", provenanceOf(first)), CodeNotFound, "", "hello 0.2.0+b, hello 0.1.0"},
				{"overwrite with the same", put(h.Replace, "hello-0.1.0.tgz", first), "", "chart_push hello-0.1.0.tgz 0.1.0 first", "hello 0.2.0+b, hello 0.1.0"},
				{"whose provenance stays", put(h.Create, "hello-0.1.0.tgz.prov", provenanceOf(first)), CodeExists, "", "hello 0.2.0+b, hello 0.1.0"},
				{"overwrite", put(h.Replace, "hello-0.1.0.tgz", second), "", "chart_push hello-0.1.0.tgz 0.1.0", "hello 0.2.0+b, hello 0.1.0"},
				{"whose provenance goes", func() error { return h.Delete(ctx, "hello-0.1.0.tgz.prov") }, CodeNotFound, "", "hello 0.2.0+b, hello 0.1.0"},
				{"new provenance", put(h.Create, "hello-0.1.0.tgz.prov", provenanceOf(second)), "", "", "hello 0.2.0+b, hello 0.1.0"},
				{"delete it", func() error { return h.Delete(ctx, "hello-0.1.0.tgz.prov") }, "", "", "hello 0.2.0+b, hello 0.1.0"},
				{"and once more", put(h.Create, "hello-0.1.0.tgz.prov", provenanceOf(second)), "", "", "hello 0.2.0+b, hello 0.1.0"},
				{"delete", func() error { return h.Delete(ctx, "hello-0.1.0.tgz") }, "", "chart_delete hello-0.1.0.tgz 0.1.0", "hello 0.2.0+b"},
				{"with its provenance", func() error { return h.Delete(ctx, "hello-0.1.0.tgz.prov") }, CodeNotFound, "", "hello 0.2.0+b"},
				{"delete what is gone", func() error { return h.Delete(ctx, "hello-0.1.0.tgz") }, CodeNotFound, "", "hello 0.2.0+b"},
				{"delete what cannot be", func() error { return h.Delete(ctx, "../x") }, CodeNotFound, "", "hello 0.2.0+b"},
				{"push what was deleted", put(h.Create, "hello-0.1.0.tgz", first), "", "chart_push hello-0.1.0.tgz 0.1.0 first", "hello 0.2.0+b, hello 0.1.0"},
				{"delete another chart", func() error { return h.DeleteChart(ctx, "hell") }, CodeNotFound, "", "hello 0.2.0+b, hello 0.1.0"},
				{"delete the chart", func() error { return h.DeleteChart(ctx, "hello") }, "", "chart_delete hello-0.2.0+b.tgz 0.2.0+b, chart_delete hello-0.1.0.tgz 0.1.0 first", ""},
				{"delete it again", func() error { return h.DeleteChart(ctx, "hello") }, CodeNotFound, "", ""},
			}
			for _, step := range steps {
				seen := len(f.events())
				err := step.do()
				if (err == nil) != (step.code == "") || err != nil && fault.As(err).Code != step.code {
					t.Errorf("%s: %v; want code %q", step.name, err, step.code)
				}
				var got []string
				for _, e := range f.events()[seen:] {
					target := e.Event.Target
					text := fmt.Sprint(e.Event.Action, " ", target.Tag, " ", target.Version)
					data := map[oci.Digest][]byte{}
					for _, d := range [][]byte{first, second, other} {
						data[oci.FromBytes(oci.SHA256, d)] = d
					}
					pushed := data[oci.Digest(target.Digest)]
					if bytes.Equal(pushed, first) {
						text += " first"
					}
					got = append(got, text)
					want := event.Target{MediaType: "application/vnd.acr.helm.chart", Size: int64(len(pushed)), Digest: target.Digest,
						Repository: "repo", Tag: target.Tag, Name: "hello", Version: target.Version}
					if diff := cmp.Diff(want, target); diff != "" {
						t.Errorf("%s: target differs (-want +got):\n%s", step.name, diff)
					}
					if diff := cmp.Diff(curl.Request, e.Event.Request); diff != "" || e.Event.Actor != curl.Actor || e.Event.Registry != reg {
						t.Errorf("%s: %+v", step.name, e.Event)
					}
					if !bytes.Equal(e.ACRBody, event.ACRBody(e.Event)) || bytes.Contains(e.ACRBody, []byte(`"request"`)) {
						t.Errorf("%s: the stored body is %s", step.name, e.ACRBody)
					}
				}
				if got := strings.Join(got, ", "); got != step.events {
					t.Errorf("%s: events %q, want %q", step.name, got, step.events)
				}
				if got := f.versions(h); got != step.index {
					t.Errorf("%s: the index has %q, want %q", step.name, got, step.index)
				}
				f.consistent(reg)
			}
			if files := f.stored(); len(files) > 0 {
				t.Errorf("left in the blob store: %v", files)
			}
		}
	})
}

// What was pushed comes back, byte for byte, and nowhere else.
func TestContents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h, other := f.contoso(), f.For(fabrikam, curl)
		small, large := f.push(h, "small", "1.0.0", 'x'), f.push(h, "large", "1.0.0", noise(2, 300_000)...)
		if err := h.Create(t.Context(), "large-1.0.0.tgz.prov", bytes.NewReader(provenanceOf(large))); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"small-1.0.0.tgz": string(small), "large-1.0.0.tgz": string(large), "large-1.0.0.tgz.prov": string(provenanceOf(large)),
			"small-1.0.0.tgz.prov": "not found", "small-2.0.0.tgz": "not found", "x": "not found", "../large-1.0.0.tgz": "not found",
		} {
			if got := f.content(h, name); got != want {
				t.Errorf("%s: %.40q, want %.40q", name, got, want)
			}
			if got := f.content(other, name); got != "not found" {
				t.Errorf("%s: another registry has %.40q", name, got)
			}
		}
		if len(small) > inlineLimit || len(large) <= inlineLimit || len(f.stored()) != 1 {
			t.Errorf("%d and %d bytes, %v: not one in the database and one in a file", len(small), len(large), f.stored())
		}
		entry := f.index(h).Entries["large"][0]
		if "sha256:"+entry.Digest != string(oci.FromBytes(oci.SHA256, large)) || !slices.Equal(entry.URLs, []string{"_blobs/large-1.0.0.tgz"}) {
			t.Errorf("%+v", entry)
		}
		for name, err := range map[string]error{
			"versions": second(other.Versions(t.Context(), "large")), "version": second(other.Version(t.Context(), "large", "1.0.0")),
			"another version": second(h.Version(t.Context(), "large", "1")), "delete": other.DeleteChart(t.Context(), "large"),
		} {
			if fault.As(err) == nil || fault.As(err).Code != CodeNotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := f.versions(other); got != "" {
			t.Errorf("another registry lists %s", got)
		}
		want := int64(len(small) + len(large) + len(provenanceOf(large)))
		if n, err := f.Size(t.Context(), contoso.ID); err != nil || n != want {
			t.Errorf("size %d, %v; want %d", n, err, want)
		}
		if n, err := f.Size(t.Context(), fabrikam.ID); err != nil || n != 0 {
			t.Errorf("size %d, %v; want 0", n, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// The order is Helm's: what helm pull takes without a version is first.
func TestOrderOfVersions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqldbtest.SQLite(t)(), t.TempDir())
	h := f.contoso()
	const want = "a 1.0.0, hello v2.1, hello 2.0.0, hello 1.10.0, hello 1.9.0, hello 1.9.0-rc.10, hello 1.9.0-rc.9, hello 1.9.0-rc, hello 1.9.0-2, hello 1.0.0+b, hello 1.0.0+a, hello 1.0.0, hello 1, hello 0.9.9, hello-world 0.1.0"
	all := strings.Split(want, ", ")
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, v := range all {
		name, version, _ := strings.Cut(v, " ")
		f.push(h, name, version)
	}
	if got := f.versions(h); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What people write into Chart.yaml, the database keeps and the index says.
func TestOddTexts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h := f.contoso()
		const odd = "nul \x00 del \x7f line \u2028 next \u0085 bom \ufeff 😀 <&> ' \" \\"
		quoted := encodeString(odd)
		data := pack(packed{name: "hello/Chart.yaml", text: hello + "description: " + string(quoted) + "\nannotations: {" + string(quoted) + ": x}\n"})
		if err := h.Create(t.Context(), "hello-0.1.0.tgz", bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if got := f.index(h).Entries["hello"][0]; got.Description != odd || got.Annotations[odd] != "x" {
			t.Errorf("%q", got.Description)
		}
		f.consistent(contoso)
	})
}

// Name and version of two charts may come to the same file name. Only one of them
// can be there.
func TestSameFileName(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h := f.contoso()
		f.push(h, "a-1", "2.0.0")
		other := packageOf("a", "1-2.0.0")
		for what, err := range map[string]error{
			"push":      h.Create(t.Context(), "a-1-2.0.0.tgz", bytes.NewReader(other)),
			"overwrite": h.Replace(t.Context(), "a-1-2.0.0.tgz", bytes.NewReader(other)),
		} {
			if fault.As(err) == nil || fault.As(err).Code != CodeExists {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := f.versions(h); got != "a-1 2.0.0" || len(f.events()) != 1 {
			t.Errorf("%s, %d events", got, len(f.events()))
		}
	})
}

// Of two pushes of one version one wins, and there is one event: that of what is
// there.
func TestConcurrentPushes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h := f.contoso()
		const pushers, versions = 8, 5
		for v := range versions {
			name := packageFile("hello", fmt.Sprintf("%d.0.0", v))
			var wg sync.WaitGroup
			errs := make([]error, pushers)
			for i := range pushers {
				wg.Go(func() {
					data := packageOf("hello", fmt.Sprintf("%d.0.0", v), noise(uint64(100*v+i), 1000+i%2*100_000)...)
					errs[i] = h.Create(t.Context(), name, bytes.NewReader(data))
				})
			}
			wg.Wait()
			var won int
			for _, err := range errs {
				switch {
				case err == nil:
					won++
				case fault.As(err).Code != CodeExists:
					t.Error(err)
				}
			}
			events := f.events()
			if won != 1 || len(events) != v+1 {
				t.Fatalf("%d pushes of %s succeeded, %d events", won, name, len(events))
			}
			data := f.content(h, name)
			if is := events[v].Event.Target; is.Digest != string(oci.FromBytes(oci.SHA256, []byte(data))) || is.Size != int64(len(data)) {
				t.Errorf("the event tells of another package: %+v", is)
			}
		}
		f.consistent(contoso)
	})
}

// Whatever is done at once, tables, files and events agree at the end, and readers
// never find less than a whole package.
func TestConcurrentChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h := f.contoso()
		f.push(h, "hello", "1.0.0", noise(3, 100_000)...)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range 6 {
					data := packageOf("hello", "1.0.0", noise(uint64(10*i+n), 500+n%2*100_000)...)
					errs := errors.Join(h.Replace(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(data)))
					if n == 4 && i == 0 {
						errs = errors.Join(h.DeleteChart(t.Context(), "hello"), h.Create(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(data)))
					}
					if code := fault.As(errs); code != nil && code.Code != CodeNotFound && code.Code != CodeExists {
						t.Error(errs)
					}
					f.content(h, "hello-1.0.0.tgz")
					if _, err := h.Index(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		f.consistent(contoso)
		state := map[string]string{}
		for _, e := range f.events() {
			if state[e.Event.Target.Tag] = e.Event.Target.Digest; e.Event.Action == event.ChartDelete {
				delete(state, e.Event.Target.Tag)
			}
		}
		index := f.index(h)
		for _, v := range index.Entries["hello"] {
			if got := state[packageFile("hello", v.Version)]; got != "sha256:"+v.Digest {
				t.Errorf("the events end with %s, the index has %s", got, v.Digest)
			}
		}
		if len(state) != len(index.Entries["hello"]) {
			t.Errorf("the events leave %d versions, the index has %d", len(state), len(index.Entries["hello"]))
		}
	})
}

// A chart of many versions goes in pieces, each version with its event; what was
// pushed meanwhile by another name stays.
func TestDeleteChartOfManyVersions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h := f.contoso()
		const many = 2*versionsAtOnce + 7
		for i := range many {
			f.push(h, "hello", fmt.Sprintf("0.0.%d", i))
		}
		f.push(h, "hello-world", "0.1.0")
		if err := h.DeleteChart(t.Context(), "hello"); err != nil {
			t.Fatal(err)
		}
		if got := f.versions(h); got != "hello-world 0.1.0" {
			t.Errorf("left: %s", got)
		}
		for i, e := range f.events()[many+1:] {
			if e.Event.Action != event.ChartDelete || e.Event.Target.Version != fmt.Sprintf("0.0.%d", i) {
				t.Errorf("event %d: %s of %s", i, e.Event.Action, e.Event.Target.Version)
			}
		}
		if n := len(f.events()); n != 2*many+1 {
			t.Errorf("%d events", n)
		}
		f.consistent(contoso)
	})
}

// failing is a blob store that fails at one step, as a full disk or a crash does.
type failing struct {
	blob.Store
	stage, write, keep, open, remove error
	keptAnyway                       bool // Keep fails after its work, as if the process died
}

func (s *failing) Stage(upload string, at int64) (blob.Staged, error) {
	if s.stage != nil {
		return nil, s.stage
	}
	staged, err := s.Store.Stage(upload, at)
	return &failingFile{staged, s}, err
}

type failingFile struct {
	blob.Staged
	store *failing
}

func (f *failingFile) Write(p []byte) (int, error) {
	if f.store.write != nil {
		return 0, f.store.write
	}
	return f.Staged.Write(p)
}

func (s *failing) Keep(upload string, dgst oci.Digest) (string, error) {
	if s.keep == nil || s.keptAnyway {
		file, err := s.Store.Keep(upload, dgst)
		if s.keep == nil || err != nil {
			return file, err
		}
	}
	return "", s.keep
}

func (s *failing) OpenStaged(upload string) (io.ReadCloser, error) {
	if s.open != nil {
		return nil, s.open
	}
	return s.Store.OpenStaged(upload)
}

func (s *failing) Remove(file string) error {
	if s.remove != nil {
		return s.remove
	}
	return s.Store.Remove(file)
}

// A push that fails on its way leaves neither row nor event, and no file either,
// unless the process died; then it is one that no row names.
func TestFailedPush(t *testing.T) {
	t.Parallel()
	noSpace := fault.New(fault.NoSpace, "the disk is full")
	for name, broken := range map[string]failing{
		"no room for a name":             {stage: noSpace},
		"no room for bytes":              {write: noSpace},
		"not readable":                   {open: errors.New("input/output error")},
		"no room to keep it":             {keep: noSpace},
		"died between file and row":      {keep: errors.New("killed"), keptAnyway: true},
		"full, and cannot be cleaned up": {keep: noSpace, remove: noSpace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sqldbtest.SQLite(t)(), t.TempDir())
			h, whole := f.contoso(), f.Blobs
			large := packageOf("hello", "1.0.0", noise(4, 200_000)...)
			broken.Store = whole
			f.Blobs = &broken
			for _, do := range []func(context.Context, string, io.Reader) error{h.Create, h.Replace} {
				if err := do(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(large)); err == nil {
					t.Error("it succeeded")
				}
			}
			if got := f.versions(h); got != "" || len(f.events()) > 0 {
				t.Errorf("in the tables: %s, %d events", got, len(f.events()))
			}
			if files := f.stored(); len(files) > 0 != broken.keptAnyway {
				t.Errorf("files: %v", files)
			}
			err := f.DB.Read(t.Context(), func(tx *sqldb.Tx) error {
				named, err := f.Named(tx, append(f.stored(), "blobs/sha256/00/none"))
				if len(named) > 0 {
					t.Errorf("rows name %v", named)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			f.Blobs = whole
			f.push(h, "hello", "1.0.0", noise(4, 200_000)...)
		})
	}
}

// A transaction that fails undoes all of a push, the file too; the package that was
// there stays.
func TestFailedTransaction(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqldbtest.SQLite(t)(), t.TempDir())
	h := f.contoso()
	large := f.push(h, "hello", "1.0.0", noise(5, 200_000)...)
	exec := func(statement string) {
		t.Helper()
		err := f.DB.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error { _, err := tx.Exec(statement); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	// SQLite takes the limit on pages for a full disk; the trigger makes sure that
	// the event needs some.
	exec("CREATE TRIGGER large BEFORE INSERT ON event BEGIN INSERT INTO setting VALUES ('large', zeroblob(1000000)); END")
	exec("PRAGMA max_page_count = 1") // no less than there are
	for what, err := range map[string]error{
		"push":      h.Create(t.Context(), "hello-2.0.0.tgz", bytes.NewReader(packageOf("hello", "2.0.0", noise(6, 200_000)...))),
		"overwrite": h.Replace(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(packageOf("hello", "1.0.0", noise(6, 200_000)...))),
		"delete":    h.Delete(t.Context(), "hello-1.0.0.tgz"),
		"all":       h.DeleteChart(t.Context(), "hello"),
	} {
		if !fault.Is(err, fault.NoSpace) {
			t.Errorf("%s: %v, want fault.NoSpace", what, err)
		}
	}
	exec("PRAGMA max_page_count = 1000000")
	if got := f.versions(h); got != "hello 1.0.0" || len(f.events()) != 1 {
		t.Errorf("%s, %d events", got, len(f.events()))
	}
	if f.content(h, "hello-1.0.0.tgz") != string(large) {
		t.Error("the package is another one")
	}
	f.consistent(contoso)
}

// A request that is cut off, or too large, is not a push.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqldbtest.SQLite(t)(), t.TempDir())
	h := f.contoso()
	data := f.push(h, "hello", "1.0.0")
	cut := errors.New("connection reset")
	large := packageOf("hello", "2.0.0", noise(7, 200_000)...)
	endless := io.LimitReader(zeros{}, maxPackage+10)
	for what, test := range map[string]struct {
		name string
		body io.Reader
		kind fault.Kind
	}{
		"cut off":                 {"hello-2.0.0.tgz", io.MultiReader(bytes.NewReader(large[:1000]), iotest.ErrReader(cut)), fault.Invalid},
		"cut off in the file":     {"hello-2.0.0.tgz", io.MultiReader(bytes.NewReader(large[:150_000]), iotest.ErrReader(cut)), fault.Invalid},
		"too large":               {"hello-2.0.0.tgz", endless, fault.TooLarge},
		"empty":                   {"hello-2.0.0.tgz", strings.NewReader(""), fault.Invalid},
		"provenance, cut off":     {"hello-1.0.0.tgz.prov", io.MultiReader(bytes.NewReader(provenanceOf(data)), iotest.ErrReader(cut)), fault.Invalid},
		"provenance, too large":   {"hello-1.0.0.tgz.prov", io.MultiReader(bytes.NewReader(provenanceOf(data)), io.LimitReader(zeros{}, maxProvenance)), fault.TooLarge},
		"provenance, empty":       {"hello-1.0.0.tgz.prov", strings.NewReader(""), fault.Invalid},
		"a package as provenance": {"hello-1.0.0.tgz.prov", bytes.NewReader(data), fault.Invalid},
	} {
		if err := h.Create(t.Context(), test.name, test.body); !fault.Is(err, test.kind) {
			t.Errorf("%s: %v, want %s", what, err, test.kind)
		}
	}
	if got := f.versions(h); got != "hello 1.0.0" || len(f.events()) != 1 || len(f.stored()) > 0 {
		t.Errorf("%s, %d events, %v", got, len(f.events()), f.stored())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The entries of a registry are bounded, and with them the index.
func TestIndexIsBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		h := f.contoso()
		f.push(h, "hello", "1.0.0")
		room := func(bytes int64) {
			t.Helper()
			err := f.DB.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
				_, err := tx.Exec("UPDATE chart_index SET entries = $1", maxEntries-bytes)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		room(10)
		err := h.Create(t.Context(), "hello-2.0.0.tgz", bytes.NewReader(packageOf("hello", "2.0.0")))
		if !fault.Is(err, fault.Quota) || f.versions(h) != "hello 1.0.0" {
			t.Errorf("%v; there is %s", err, f.versions(h))
		}
		if err := h.Replace(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(packageOf("hello", "1.0.0", 'x'))); err != nil {
			t.Errorf("what takes the room of another: %v", err)
		}
		room(1000)
		f.push(h, "hello", "2.0.0")
	})
}

// Another node's changes are in the index at once: nothing but the database says
// whether it is new.
func TestIndexOfSeveralNodes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		other := newFixture(t, f.DB, f.files)
		for i := range 5 {
			f.push(f.contoso(), "hello", fmt.Sprintf("%d.0.0", i))
			if got, want := other.versions(other.contoso()), f.versions(f.contoso()); got != want || strings.Count(got, "hello") != i+1 {
				t.Errorf("the other node has %s, this one %s", got, want)
			}
		}
		before, _ := f.contoso().index(t.Context())
		again, _ := f.contoso().index(t.Context())
		if before == nil || before != again {
			t.Error("the index is made anew without a change")
		}
		if err := other.contoso().DeleteChart(t.Context(), "hello"); err != nil {
			t.Fatal(err)
		}
		if got := f.versions(f.contoso()); got != "" {
			t.Errorf("this node still has %s", got)
		}
	})
}

// The memory of indexes is bounded: those that were not asked for give way.
func TestIndexesGiveWay(t *testing.T) {
	t.Parallel()
	all := &indexes{of: map[int64]*slot{}}
	keep := func(registry int64, size int) {
		s, _ := all.find(registry)
		all.put(registry, s, &index{text: make([]byte, size)})
	}
	has := func() (ids []int64) {
		for id, s := range all.of {
			if s.newest != nil {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		return ids
	}
	const third = maxIndexes / 3
	for id := int64(1); id <= 3; id++ {
		keep(id, third)
	}
	all.find(1) // asked for
	keep(4, third)
	if got := has(); !slices.Equal(got, []int64{1, 3, 4}) {
		t.Errorf("%v are kept, want 1, 3, 4", got)
	}
	keep(4, third+1) // another in its place
	keep(5, maxIndexes+1)
	if got := has(); !slices.Equal(got, []int64{5}) || all.size != maxIndexes+1 {
		t.Errorf("%v are kept, %d bytes; want the newest alone", got, all.size)
	}
	s, _ := all.find(5)
	all.forget(5)
	all.put(5, s, &index{text: make([]byte, 10)})
	if len(all.of) > 0 || all.size != 0 {
		t.Errorf("%d left, %d bytes", len(all.of), all.size)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		doomed, other := f.contoso(), f.For(fabrikam, curl)
		for i := range removedAtOnce + 5 {
			f.push(doomed, "hello", fmt.Sprintf("0.0.%d", i))
		}
		f.push(doomed, "large", "1.0.0", noise(8, 100_000)...)
		f.push(other, "large", "1.0.0", noise(8, 100_000)...)
		f.index(doomed)
		events := len(f.events())
		err := f.DB.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("INSERT INTO registry (id, name, subscription, resource_group, location, sku, created_at, deleted_at) VALUES (1, '-1', 's', 'g', 'local', 'Basic', 0, 1)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := doomed.Create(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(packageOf("hello", "1.0.0"))); !fault.Is(err, fault.NotFound) {
			t.Errorf("a push to a deleted registry: %v", err)
		}
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Purge(stopped, contoso.ID); err == nil {
			t.Error("a purge that is stopped tells so")
		}
		for range 2 { // again, as after a crash
			if err := f.Purge(t.Context(), contoso.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.versions(doomed); got != "" {
			t.Errorf("left: %s", got)
		}
		if n, err := f.Size(t.Context(), contoso.ID); err != nil || n != 0 {
			t.Errorf("size %d, %v", n, err)
		}
		if got := f.versions(other); got != "large 1.0.0" || len(f.stored()) != 1 || len(f.events()) != events {
			t.Errorf("the other registry has %s, the blob store %v, %d events", got, f.stored(), len(f.events()))
		}
		f.consistent(contoso)
		f.consistent(fabrikam)
	})
}

// A file that is gone is a fault of the server, and said so in its log; one that
// was overwritten while it was asked for is looked up again.
func TestMissingFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqldbtest.SQLite(t)(), t.TempDir())
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	h := f.contoso()
	f.push(h, "hello", "1.0.0", noise(9, 100_000)...)
	if err := os.Remove(filepath.Join(f.files, f.stored()[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Open(t.Context(), "hello-1.0.0.tgz"); err == nil || fault.As(err).Kind != fault.Internal || !strings.Contains(log.String(), "hello-1.0.0.tgz") {
		t.Errorf("%v; logged: %s", err, &log)
	}
	if err := h.Replace(t.Context(), "hello-1.0.0.tgz", bytes.NewReader(packageOf("hello", "1.0.0", noise(10, 100_000)...))); err != nil {
		t.Fatal(err)
	}
	f.content(h, "hello-1.0.0.tgz")
}

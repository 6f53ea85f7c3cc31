package tenant

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

var (
	ada = Actor{"ada", "User"}
	bot = Actor{"3f2a", "Application"}
)

// world is a store, and what others would keep for its registries.
type world struct {
	*Store
	t       *testing.T
	db      *sqldb.DB
	admins  map[int64]string    // names of enabled admin users
	hooks   map[string][]string // names by location
	dropped []string            // scopes whose roles were taken away
	opts    Options
}

func (w *world) EnableAdmin(tx *sqldb.Tx, registry int64, name string) error {
	tx.AfterCommit(func() { w.admins[registry] = name })
	return nil
}

func (w *world) DisableAdmin(tx *sqldb.Tx, registry int64) error {
	tx.AfterCommit(func() { delete(w.admins, registry) })
	return nil
}

func (w *world) DropRoles(tx *sqldb.Tx, scope string) error {
	tx.AfterCommit(func() { w.dropped = append(w.dropped, scope) })
	return nil
}

func (w *world) webhooks(_ *sqldb.Tx, _ int64, location string) (all []string, err error) {
	for place, names := range w.hooks {
		if location == "" || location == place {
			all = append(all, names...)
		}
	}
	return all, nil
}

func onEach(t *testing.T, test func(*testing.T, *world)) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		w := &world{t: t, db: open(), admins: map[int64]string{}, hooks: map[string][]string{}}
		w.opts = Options{DefaultLocation: "West Europe", Admins: w, Webhooks: w.webhooks}
		w.Store = w.open()
		test(t, w)
	})
}

func (w *world) open() *Store {
	w.t.Helper()
	s, err := Open(w.t.Context(), w.db, w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// settled checks the invariant: what is in memory is what the database has.
func (w *world) settled() {
	w.t.Helper()
	again := w.open()
	if !reflect.DeepEqual(flat(again.List()), flat(w.List())) || !reflect.DeepEqual(flatGroups(again.Groups()), flatGroups(w.Groups())) {
		w.t.Errorf("the database has\n%+v\n%+v\nmemory has\n%+v\n%+v", flat(again.List()), again.Groups(), flat(w.List()), w.Groups())
	}
	for _, r := range w.List() {
		if byID := w.ByID(r.ID); byID.Name != r.Name {
			w.t.Errorf("by id %d there is %q, not %q", r.ID, byID.Name, r.Name)
		}
	}
}

// flat makes empty maps and none the same, and times those of the database.
func flat(all []Registry) []Registry {
	for i, r := range all {
		all[i].Tags, all[i].Settings = sameMap(r.Tags), Settings(sameMap(r.Settings))
		all[i].Stamp = sameStamp(r.Stamp)
		all[i].replications = slices.Clone(r.replications)
		for j, rep := range r.replications {
			rep.Tags, rep.Stamp, rep.Home = sameMap(rep.Tags), sameStamp(rep.Stamp), false
			all[i].replications[j] = rep
		}
		if len(r.replications) == 0 {
			all[i].replications = nil
		}
	}
	return all
}

func flatGroups(all []Group) []Group {
	for i, g := range all {
		all[i].Tags, all[i].Stamp = sameMap(g.Tags), sameStamp(g.Stamp)
	}
	return all
}

func sameMap[M ~map[string]string](m M) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

func sameStamp(s Stamp) Stamp {
	s.CreatedAt, s.UpdatedAt = s.CreatedAt.Round(0).UTC(), s.UpdatedAt.Round(0).UTC()
	return s
}

func fails(t *testing.T, err error, kind fault.Kind, code string, words ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != kind || f.Code != code {
		t.Errorf("got %v %v, want %v %s", f, err, kind, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(f.Message, word) {
			t.Errorf("%q does not say %q", f.Message, word)
		}
	}
}

func TestLifeOfARegistry(t *testing.T) { onEach(t, testLifeOfARegistry) }

func testLifeOfARegistry(t *testing.T, w *world) {
	ctx := t.Context()
	hosts, err := NewHosts(w.Store, "azurecr.example")
	if err != nil {
		t.Fatal(err)
	}
	const host = "contoso.azurecr.example"
	if _, err := hosts.Resolve(host); err == nil {
		t.Fatal("contoso resolves before it is there")
	}
	def := Definition{Location: "East US", SKU: "standard", Tags: map[string]string{"team": "web"}, AdminEnabled: true, Settings: map[string]string{"zoneRedundancy": "enabled"}}
	made, created, err := w.Put(ctx, "", "Contoso", def, ada)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	w.settled()
	if made.Name != "contoso" || made.Location != "eastus" || made.SKU != Standard || made.ResourceGroup != "dockbell" || made.CreatedBy != ada ||
		made.Settings.Get("zoneRedundancy") != "Enabled" || made.Settings.Get("policies.exportPolicy.status") != "enabled" {
		t.Errorf("made %+v", made)
	}
	if w.admins[made.ID] != "contoso" {
		t.Errorf("admins: %v", w.admins)
	}
	if r, err := hosts.Resolve(host); err != nil || r.ID != made.ID {
		t.Errorf("%s is %+v, %v", host, r, err)
	}

	again, created, err := w.Put(ctx, "DOCKBELL", "CONTOSO", def, bot)
	if err != nil || created || again.ID != made.ID || again.CreatedBy != ada || again.UpdatedBy != bot {
		t.Errorf("again: %+v, %t, %v", again, created, err)
	}
	sku, on := "premium", false
	patched, err := w.Patch(ctx, "contoso", Change{SKU: &sku, AdminEnabled: &on}, bot)
	if err != nil || patched.SKU != Premium || patched.Tags["team"] != "web" || patched.Settings.Get("zoneRedundancy") != "Enabled" {
		t.Errorf("patched: %+v, %v", patched, err)
	}
	if len(w.admins) != 0 {
		t.Errorf("admins: %v", w.admins)
	}
	w.settled()
	replaced, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Premium"}, ada)
	if err != nil || len(replaced.Tags) != 0 || len(replaced.Settings) != 0 {
		t.Errorf("replaced: %+v, %v", replaced, err)
	}
	w.settled()

	deleted, err := w.Delete(ctx, "Contoso")
	if err != nil || deleted.ID != made.ID {
		t.Fatal(err)
	}
	w.settled()
	if _, err := hosts.Resolve(host); err == nil {
		t.Error("contoso resolves after it was deleted")
	}
	if _, err := w.ByName("contoso"); !fault.Is(err, fault.NotFound) {
		t.Errorf("by name: %v", err)
	}
	if want := []string{deleted.ResourceID()}; !reflect.DeepEqual(w.dropped, want) {
		w.t.Errorf("roles are taken away in %v, want %v", w.dropped, want)
	}
	if _, err := w.Delete(ctx, "contoso"); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	second, created, err := w.Put(ctx, "", "contoso", def, ada)
	if err != nil || !created || second.ID == made.ID {
		t.Errorf("made again: id %d, was %d, %t, %v", second.ID, made.ID, created, err)
	}
	w.settled()
	if ids, err := w.Doomed(ctx); err != nil || !slices.Equal(ids, []int64{made.ID}) {
		t.Errorf("doomed: %v, %v", ids, err)
	}
}

// TestDoomed keeps a registry doomed for an hour, in case something was written
// behind its back.
func TestDoomed(t *testing.T) { onEach(t, testDoomed) }

func testDoomed(t *testing.T, w *world) {
	ctx := t.Context()
	made, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Basic"}, ada)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Delete(ctx, "contoso"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ago  int64 // nanoseconds
		want int
	}{{lastRequest.Nanoseconds() / 2, 1}, {lastRequest.Nanoseconds() + 1, 0}} {
		err := w.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("UPDATE registry SET deleted_at = $2 WHERE id = $1", made.ID, tx.Now().UnixNano()-tt.ago)
			return err
		})
		if err == nil {
			err = w.Purged(ctx, made.ID)
		}
		if ids, derr := w.Doomed(ctx); err != nil || derr != nil || len(ids) != tt.want {
			t.Errorf("%d ns after: %v, %v, %v", tt.ago, ids, err, derr)
		}
	}
}

func TestRegistryRules(t *testing.T) { onEach(t, testRegistryRules) }

func testRegistryRules(t *testing.T, w *world) {
	ctx := t.Context()
	put := func(group, name string, def Definition) error {
		_, created, err := w.Put(ctx, group, name, def, ada)
		if created && err != nil {
			t.Errorf("%s: created and failed with %v", name, err)
		}
		return err
	}
	ok := Definition{Location: "eastus", SKU: "Basic"}
	with := func(change func(*Definition)) Definition {
		def := ok
		change(&def)
		return def
	}
	if _, _, err := w.PutGroup(ctx, "team", "eastus", nil, ada); err != nil {
		t.Fatal(err)
	}
	if err := put("Team", "contoso", ok); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		group, name string
		def         Definition
		kind        fault.Kind
		code        string
		words       string
	}{
		{"", "abc", ok, fault.Invalid, "InvalidResourceName", "5 to 50"},
		{"", "acr-dash1", ok, fault.Invalid, "InvalidResourceName", "letters and digits"},
		{"", "fabrikam", with(func(d *Definition) { d.Location = " " }), fault.Invalid, "LocationRequired", "location"},
		{"", "fabrikam", with(func(d *Definition) { d.Location = "east-us" }), fault.Invalid, "LocationNotAvailableForResourceType", `"east-us"`},
		{"", "fabrikam", with(func(d *Definition) { d.SKU = "" }), fault.Invalid, "SkuRequired", "Premium"},
		{"", "fabrikam", with(func(d *Definition) { d.SKU = "classic" }), fault.Invalid, "ClassicSkuNotSupported", "retired"},
		{"", "fabrikam", with(func(d *Definition) { d.SKU = "Gold" }), fault.Invalid, "InvalidSku", `"Gold"`},
		{"", "fabrikam", with(func(d *Definition) { d.Tags = map[string]string{"": "x"} }), fault.Invalid, "", "no name"},
		{"", "fabrikam", with(func(d *Definition) { d.Settings = map[string]string{"publicNetworkAccess": "Disabled"} }), fault.Invalid, "InvalidParameter", "publicNetworkAccess cannot be Disabled"},
		{"nosuch", "fabrikam", ok, fault.NotFound, "ResourceGroupNotFound", `"nosuch"`},
		{"dockbell", "contoso", ok, fault.Conflict, "AlreadyInUse", "contoso"},
		{"team", "contoso", with(func(d *Definition) { d.Location = "westus" }), fault.Conflict, "InvalidResourceLocation", "eastus"},
	} {
		fails(t, put(tt.group, tt.name, tt.def), tt.kind, tt.code, tt.words)
	}
	w.settled()
	if len(w.List()) != 2 {
		t.Errorf("registries: %+v", w.List())
	}
	_, err := w.Delete(ctx, "dockbell")
	fails(t, err, fault.Conflict, "DefaultRegistryCannotBeDeleted", "default")
}

func TestOneLocation(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{DefaultLocation: "West Europe", OneLocation: true})
	_, _, err := s.Put(t.Context(), "", "contoso", Definition{Location: "eastus", SKU: "Basic"}, ada)
	fails(t, err, fault.Invalid, "LocationNotAvailableForResourceType", "eastus", "westeurope")
	if _, _, err = s.Put(t.Context(), "", "contoso", Definition{Location: "WestEurope", SKU: "Premium"}, ada); err != nil {
		t.Error(err)
	}
	_, _, err = s.PutReplication(t.Context(), "contoso", "eastus", "eastus", ReplicationChange{}, ada)
	fails(t, err, fault.Invalid, "LocationNotAvailableForResourceType", "westeurope")
}

// TestLowerTier refuses a tier that allows less than there is, and says how much
// that is.
func TestLowerTier(t *testing.T) { onEach(t, testLowerTier) }

func testLowerTier(t *testing.T, w *world) {
	ctx := t.Context()
	if _, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Premium"}, ada); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.PutReplication(ctx, "contoso", "westus", "westus", ReplicationChange{}, ada); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		w.hooks["eastus"] = append(w.hooks["eastus"], fmt.Sprintf("hook%d", i))
	}
	sku := "Standard"
	_, err := w.Patch(ctx, "contoso", Change{SKU: &sku}, ada)
	fails(t, err, fault.Quota, "QuotaExceeded", "12 webhooks, 2 more than that tier allows", "replications beside its home (1)")
	_, _, err = w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Standard"}, ada)
	fails(t, err, fault.Quota, "QuotaExceeded", "12 webhooks")
	if err := w.DeleteReplication(ctx, "contoso", "WestUS"); err != nil {
		t.Fatal(err)
	}
	w.hooks["eastus"] = w.hooks["eastus"][:10]
	if r, err := w.Patch(ctx, "contoso", Change{SKU: &sku}, ada); err != nil || r.SKU != Standard {
		t.Errorf("%+v, %v", r, err)
	}
	// Two more kinds are counted.
	maps, tokens := 101, 100
	w.Tokens = func(*sqldb.Tx, int64) (int, int, error) { return maps, tokens, nil }
	w.hooks["eastus"] = nil
	basic := "Basic"
	_, err = w.Patch(ctx, "contoso", Change{SKU: &basic}, ada)
	fails(t, err, fault.Quota, "QuotaExceeded", "it has 101 scope maps, 1 more than that tier allows; delete")
	maps, tokens = 100, 102
	_, err = w.Patch(ctx, "contoso", Change{SKU: &basic}, ada)
	fails(t, err, fault.Quota, "QuotaExceeded", "it has 102 tokens, 2 more than that tier allows; delete")
	tokens = 100
	if r, err := w.Patch(ctx, "contoso", Change{SKU: &basic}, ada); err != nil || r.SKU != Basic {
		t.Errorf("%+v, %v", r, err)
	}
	w.settled()
}

// TestAnonymousPull is for Standard and Premium.
func TestAnonymousPull(t *testing.T) { onEach(t, testAnonymousPull) }

func testAnonymousPull(t *testing.T, w *world) {
	ctx := t.Context()
	on := map[string]string{"anonymousPullEnabled": "true"}
	_, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "basic", Settings: on}, ada)
	fails(t, err, fault.Invalid, "InvalidParameter", "tier Basic", "Standard and Premium")
	r, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Basic"}, ada)
	if err != nil || r.AnonymousPull() {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = w.Patch(ctx, "contoso", Change{Settings: on}, ada)
	fails(t, err, fault.Invalid, "InvalidParameter", "tier Basic")
	basic, standard := "Basic", "Standard"
	if r, err = w.Patch(ctx, "contoso", Change{SKU: &standard, Settings: on}, ada); err != nil || !r.AnonymousPull() {
		t.Fatalf("%+v, %v", r, err)
	}
	w.settled()
	_, err = w.Patch(ctx, "contoso", Change{SKU: &basic}, ada)
	fails(t, err, fault.Conflict, "AnonymousPullNotSupported", "contoso cannot become Basic while it has anonymous pull")
	if r, err := w.ByName("contoso"); err != nil || r.SKU != Standard || !r.AnonymousPull() {
		t.Errorf("after a refusal: %+v, %v", r, err)
	}
	r, err = w.Patch(ctx, "contoso", Change{SKU: &basic, Settings: map[string]string{"anonymousPullEnabled": "false"}}, ada)
	if err != nil || r.SKU != Basic || r.AnonymousPull() {
		t.Errorf("both at once: %+v, %v", r, err)
	}
	w.settled()
}

// TestRetentionPolicy is for Premium, and says when it was changed.
func TestRetentionPolicy(t *testing.T) { onEach(t, testRetentionPolicy) }

func testRetentionPolicy(t *testing.T, w *world) {
	ctx := t.Context()
	on := map[string]string{"policies.retentionPolicy.status": "Enabled", "policies.retentionPolicy.days": "30"}
	_, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Standard", Settings: on}, ada)
	fails(t, err, fault.Invalid, "InvalidParameter", "tier Standard", "Premium has it")
	r, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Premium"}, ada)
	if err != nil || r.RetentionPolicy() != (RetentionPolicy{Days: 7, Updated: r.CreatedAt}) {
		t.Fatalf("%+v, %v", r.RetentionPolicy(), err)
	}
	for _, days := range []string{"-1", "366", "x", "1.5"} {
		_, err = w.Patch(ctx, "contoso", Change{Settings: map[string]string{"policies.retentionPolicy.days": days}}, ada)
		fails(t, err, fault.Invalid, "InvalidParameter", "use 0 to 365")
	}
	r, err = w.Patch(ctx, "contoso", Change{Settings: on}, ada)
	if err != nil {
		t.Fatal(err)
	}
	first := r.RetentionPolicy()
	if !first.Enabled || first.Days != 30 || !first.Updated.Equal(r.UpdatedAt) {
		t.Errorf("%+v", first)
	}
	r, err = w.Patch(ctx, "contoso", Change{Tags: map[string]string{"team": "web"}, Settings: on}, ada)
	if err != nil || r.RetentionPolicy() != first {
		t.Errorf("after another change: %+v, %v", r.RetentionPolicy(), err)
	}
	w.settled()
	standard := "Standard"
	_, err = w.Patch(ctx, "contoso", Change{SKU: &standard}, ada)
	fails(t, err, fault.Conflict, "RetentionPolicyNotSupported", "contoso cannot become Standard while its retention policy is enabled")
	off := map[string]string{"policies.retentionPolicy.status": "disabled"}
	r, err = w.Patch(ctx, "contoso", Change{SKU: &standard, Settings: off}, ada)
	if p := r.RetentionPolicy(); err != nil || p.Enabled || p.Days != 30 || !p.Updated.After(first.Updated) {
		t.Errorf("both at once: %+v, %v", p, err)
	}
	w.settled()
}

// TestSoftDeletePolicy is for every tier, and says when it was changed.
func TestSoftDeletePolicy(t *testing.T) { onEach(t, testSoftDeletePolicy) }

func testSoftDeletePolicy(t *testing.T, w *world) {
	ctx := t.Context()
	r, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Basic"}, ada)
	if err != nil || r.SoftDeletePolicy() != (SoftDeletePolicy{Days: 7, Updated: r.CreatedAt}) {
		t.Fatalf("%+v, %v", r.SoftDeletePolicy(), err)
	}
	for _, days := range []string{"0", "-1", "91", "x", "1.5"} {
		_, err = w.Patch(ctx, "contoso", Change{Settings: map[string]string{"policies.softDeletePolicy.retentionDays": days}}, ada)
		fails(t, err, fault.Invalid, "InvalidParameter", "use 1 to 90")
	}
	on := map[string]string{"policies.softDeletePolicy.status": "Enabled", "policies.softDeletePolicy.retentionDays": "30"}
	r, err = w.Patch(ctx, "contoso", Change{Settings: on}, ada)
	first := r.SoftDeletePolicy()
	if err != nil || !first.Enabled || first.Days != 30 || !first.Updated.Equal(r.UpdatedAt) || first.Lifetime() != 720*time.Hour {
		t.Fatalf("%+v, %v", first, err)
	}
	// Both policies at once, each with its own time.
	premium := "Premium"
	r, err = w.Patch(ctx, "contoso", Change{SKU: &premium, Settings: map[string]string{"policies.retentionPolicy.status": "enabled"}}, ada)
	if err != nil || r.SoftDeletePolicy() != first || !r.RetentionPolicy().Updated.After(first.Updated) {
		t.Errorf("%+v, %+v, %v", r.SoftDeletePolicy(), r.RetentionPolicy(), err)
	}
	retention := r.RetentionPolicy()
	r, err = w.Patch(ctx, "contoso", Change{Settings: map[string]string{"policies.softDeletePolicy.status": "disabled"}}, ada)
	if p := r.SoftDeletePolicy(); err != nil || p.Enabled || p.Days != 30 || !p.Updated.After(first.Updated) || r.RetentionPolicy() != retention {
		t.Errorf("%+v, %+v, %v", p, r.RetentionPolicy(), err)
	}
	w.settled()
}

func TestReplications(t *testing.T) { onEach(t, testReplications) }

func testReplications(t *testing.T, w *world) {
	ctx := t.Context()
	put := func(name, location string) error {
		_, _, err := w.PutReplication(ctx, "dockbell", name, location, ReplicationChange{}, ada)
		return err
	}
	names := func() string {
		var all []string
		for _, rep := range w.Default().Replications() {
			all = append(all, rep.Name+"@"+rep.Location)
		}
		return strings.Join(all, " ")
	}
	if got := names(); got != "westeurope@westeurope" {
		t.Errorf("at first: %s", got)
	}
	if err := put("EastUS", "East US"); err != nil {
		t.Fatal(err)
	}
	if err := put("eastus", "eastus"); err != nil { // again
		t.Fatal(err)
	}
	if err := put("asia1", "japaneast"); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if got := names(); got != "westeurope@westeurope asia1@japaneast EastUS@eastus" {
		t.Errorf("then: %s", got)
	}
	if got := w.Default().Locations(); !slices.Equal(got, []string{"westeurope", "japaneast", "eastus"}) {
		t.Errorf("locations %v", got)
	}
	fails(t, put("second", "eastus"), fault.Conflict, "ReplicationLocationInUse", "EastUS")
	fails(t, put("second", "westeurope"), fault.Conflict, "ReplicationInHomeLocation", "home")
	fails(t, put("eastus", "westus"), fault.Conflict, "InvalidResourceLocation", "westus")
	fails(t, put("east-us2", "eastus2"), fault.Invalid, "InvalidResourceName", "eastus2")
	fails(t, put("eastus2", ""), fault.Invalid, "LocationRequired")
	if err := put("westeurope", "westeurope"); err != nil { // the home has that name
		t.Error(err)
	}
	off := false
	rep, err := w.PatchReplication(ctx, "dockbell", "westeurope", ReplicationChange{RegionEndpoint: &off, Tags: map[string]string{"a": "b"}}, bot)
	if err != nil || rep.RegionEndpoint || !rep.Home || rep.Tags["a"] != "b" || rep.UpdatedBy != bot {
		t.Errorf("home: %+v, %v", rep, err)
	}
	w.settled()
	if got := names(); got != "westeurope@westeurope asia1@japaneast EastUS@eastus" {
		t.Errorf("with a changed home: %s", got)
	}

	w.hooks["eastus"] = []string{"deployhook"}
	fails(t, w.DeleteReplication(ctx, "dockbell", "eastus"), fault.Conflict, "ReplicationHasWebhooks", "deployhook")
	fails(t, w.DeleteReplication(ctx, "dockbell", "westeurope"), fault.Conflict, "CannotDeleteHomeReplication", "home")
	fails(t, w.DeleteReplication(ctx, "dockbell", "nosuch"), fault.NotFound, "ResourceNotFound", `"nosuch"`)
	delete(w.hooks, "eastus")
	if err := w.DeleteReplication(ctx, "dockbell", "eastus"); err != nil {
		t.Error(err)
	}
	w.settled()

	if _, _, err := w.Put(ctx, "", "contoso", Definition{Location: "eastus", SKU: "Standard"}, ada); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.PutReplication(ctx, "contoso", "westus", "westus", ReplicationChange{}, ada)
	fails(t, err, fault.Invalid, "ReplicationNotSupported", "Premium")
	_, _, err = w.PutReplication(ctx, "nosuch", "westus", "westus", ReplicationChange{}, ada)
	fails(t, err, fault.NotFound, "RegistryResourceNotFound")
}

func TestGroups(t *testing.T) { onEach(t, testGroups) }

func testGroups(t *testing.T, w *world) {
	ctx := t.Context()
	g, created, err := w.PutGroup(ctx, "Team.A_(1)", "East US", map[string]string{"a": "b"}, ada)
	if err != nil || !created || g.Location != "eastus" {
		t.Fatal(g, created, err)
	}
	g, created, err = w.PutGroup(ctx, "team.a_(1)", "eastus", nil, bot)
	if err != nil || created || g.Name != "Team.A_(1)" || len(g.Tags) != 0 || g.CreatedBy != ada || g.UpdatedBy != bot {
		t.Errorf("again: %+v, %t, %v", g, created, err)
	}
	w.settled()
	for name, code := range map[string]string{"": "InvalidResourceGroupName", "a.": "InvalidResourceGroupName", "a/b": "InvalidResourceGroupName", strings.Repeat("x", 91): "InvalidResourceGroupName"} {
		_, _, err := w.PutGroup(ctx, name, "eastus", nil, ada)
		fails(t, err, fault.Invalid, code)
	}
	_, _, err = w.PutGroup(ctx, "team.a_(1)", "westus", nil, ada)
	fails(t, err, fault.Conflict, "InvalidResourceGroupLocation", "westus")
	if _, _, err := w.Put(ctx, "TEAM.A_(1)", "contoso", Definition{Location: "eastus", SKU: "Basic"}, ada); err != nil {
		t.Fatal(err)
	}
	fails(t, w.DeleteGroup(ctx, "Team.A_(1)"), fault.Conflict, "ResourceGroupNotEmpty", "contoso")
	fails(t, w.DeleteGroup(ctx, "dockbell"), fault.Conflict, "ResourceGroupNotEmpty", "dockbell")
	if _, err := w.Delete(ctx, "contoso"); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteGroup(ctx, "team.A_(1)"); err != nil {
		t.Error(err)
	}
	w.settled()
	fails(t, w.DeleteGroup(ctx, "team.A_(1)"), fault.NotFound, "ResourceGroupNotFound")
}

// TestKnownSettings reads each setting's own values, in any case, and refuses
// another with its reason.
func TestKnownSettings(t *testing.T) {
	t.Parallel()
	for _, known := range KnownSettings {
		for _, value := range known.Values {
			got, err := Settings{}.with(map[string]string{known.Name: strings.ToUpper(value)})
			if err != nil || got.Get(known.Name) != value {
				t.Errorf("%s %s: %v, %v", known.Name, value, got, err)
			}
			if _, kept := got[known.Name]; kept != (value != known.Values[0]) {
				t.Errorf("%s %s is stored: %t", known.Name, value, kept)
			}
		}
		_, err := Settings{}.with(map[string]string{known.Name: "-1"})
		fails(t, err, fault.Invalid, "InvalidParameter", known.Name, known.Why)
		if known.Why == "" && len(known.Values) == 1 && !known.number() {
			t.Errorf("%s refuses and does not say why", known.Name)
		}
	}
	got, err := Settings{"zoneRedundancy": "Enabled"}.with(map[string]string{"policies.retentionPolicy.days": "30"})
	if err != nil || !reflect.DeepEqual(got, Settings{"zoneRedundancy": "Enabled", "policies.retentionPolicy.days": "30"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	for name, want := range map[string]string{"DockBell": "AlreadyExists", "abc": "Invalid", "contoso": ""} {
		if got := s.CheckName(name); got.Reason != want || got.Available != (want == "") || (got.Message == "") != got.Available {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

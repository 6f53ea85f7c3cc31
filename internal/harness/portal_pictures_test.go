package harness_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	pixels "image"
	"image/color"
	"image/png"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/sqldb"
)

var pictures = flag.Bool("pictures", false, "write the pictures in docs/portal anew")

// TestRealPortalPictures writes the pictures that docs/portal.md shows: of a company
// after a day in which all went well until, some hours ago, one receiver broke.
func TestRealPortalPictures(t *testing.T) {
	if !*pictures {
		t.Skip("NOT ASKED FOR: -pictures writes them")
	}
	browser := forBrowser(t)
	data := t.TempDir()
	c := newCompany(t, data)
	c.day(data)
	b := newTab(t, browser, c.Server)
	b.page("/portal/login")
	everywhere := []string{"desktop-light", "desktop-dark", "phone-light", "phone-dark"}
	b.picture("login", 640, "desktop-light")
	b.login("contoso", harness.Password)
	story := func(webhook, outcome string) string {
		b.page("/portal/registries/contoso/webhooks/" + webhook + "?outcome=" + outcome)
		return eval[string](b, `new URL([...document.querySelectorAll("#log ~ table tbody tr")].find((r) => r.innerText.includes(":v")).querySelector("th a").href).pathname`)
	}
	failed := story("chathook", "failed")
	b.page("/portal/registries/contoso/repositories/web/shop")
	manifest := eval[string](b, `[...document.querySelectorAll("main a[href]")].map((a) => new URL(a.href)).find((u) => u.pathname.includes("@sha256")).pathname`)
	for _, p := range []struct {
		name, path string
		height     int64
		variants   []string
	}{
		{"overview", "", 1000, []string{"desktop-light", "phone-dark"}},
		{"webhooks", "/webhooks", 620, everywhere},
		{"webhook", "/webhooks/deployhook", 1150, everywhere},
		{"failing", "/webhooks/chathook", 1000, []string{"desktop-light", "phone-dark"}},
		{"delivery", failed, 1250, everywhere},
		{"repository", "/repositories/web/shop", 900, []string{"desktop-light", "phone-light"}},
		{"manifest", manifest, 1150, []string{"desktop-light"}},
		{"events", "/events", 800, []string{"desktop-dark", "phone-light"}},
		{"figures", "/figures", 1150, []string{"desktop-light", "desktop-dark"}},
		{"subscription", "/subscriptions/inventory", 900, []string{"desktop-light"}},
		{"access", "/access", 800, []string{"desktop-light"}},
		{"audit", "/audit", 800, []string{"desktop-light"}},
	} {
		path := p.path
		if !strings.HasPrefix(path, "/portal") {
			path = "/portal/registries/contoso" + path
		}
		b.page(path)
		b.picture(p.name, p.height, p.variants...)
	}
	// The form, with something wrong in it.
	b.page("/portal/registries/contoso/webhooks/new")
	b.fill("Name", "prod-hook")
	b.fill("Service URI", "https://hooks.contoso.com/deploy")
	b.fill("Scope", "web/*:*")
	b.wrongAt("Name", "not a letter or digit")
	b.text("of the newest 50 events of this registry match")
	b.picture("form", 1150, everywhere...)
	b.sound()
}

// picture writes pictures of the upper part of the page that is shown.
func (b *tab) picture(name string, height int64, variants ...string) {
	b.t.Helper()
	for _, v := range variants {
		size := window{desktop.width, height}
		if strings.HasPrefix(v, "phone") {
			size = window{phone.width, max(height, phone.height)}
		}
		b.look(size, v[strings.LastIndex(v, "-")+1:])
		eval[bool](b, `(scrollTo(0, 0), document.activeElement.blur(), true)`)
		shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		b.must(err)
		img, err := png.Decode(bytes.NewReader(shot))
		b.must(err)
		var out bytes.Buffer
		b.must((&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewColours(img)))
		b.must(os.MkdirAll("../../docs/portal", 0o755))
		b.must(os.WriteFile(filepath.Join("../../docs/portal", name+"-"+v+".png"), out.Bytes(), 0o644))
	}
}

// fewColours returns a picture with its 256 most frequent colours, or what is nearest
// to them. A page has hardly more, but for the edges of letters.
func fewColours(img pixels.Image) pixels.Image {
	bounds := img.Bounds()
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	frequent := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range frequent[:min(len(frequent), 256)] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for _, c := range frequent {
		index[c] = uint8(palette.Index(c))
	}
	few := pixels.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			few.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return few
}

// day has the company work for a day, which it does in seconds: then all that is on
// record is moved back, each event and what came of it to its time of the day.
func (c *company) day(data string) {
	c.t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	took := func(base, spread int) *func(int64) time.Duration {
		after := func(n int64) time.Duration {
			return time.Duration(base+int(n*37%int64(spread))) * time.Millisecond / 4
		}
		return &after
	}
	c.deploy.after.Store(took(40, 90))
	c.grid.after.Store(took(20, 30))
	c.chat.status.Store(http.StatusOK)
	c.open()
	for i := range 110 {
		switch rnd.IntN(7) {
		case 0:
			c.release("web/shop", fmt.Sprintf("v1.%d", i+2))
		case 1, 2:
			c.image("web/api", fmt.Sprintf("v2.%d", i+4), "amd64", map[string]string{"org.opencontainers.image.version": fmt.Sprintf("v2.%d", i+4)})
		case 3, 4:
			c.image("worker", fmt.Sprintf("build-%d", 4100+i), "arm64", nil)
		case 5, 6:
			c.image("base/alpine", fmt.Sprintf("3.22.%d", i), "amd64", nil)
		}
		if i == 90 {
			c.settle("chathook")
			c.chat.status.Store(http.StatusServiceUnavailable)
		}
	}
	c.release("web/shop", "v2.0")
	c.settle("deployhook")
	c.awaitHealth("chathook", func(h health) bool { return h.ConsecutiveFailures > 0 })
	c.Stop()
	offline(c.t, data, func(db *sqldb.DB) error { return moveBack(c.t, db, rnd) })
	c.start(data)
}

// moveBack spreads what is on record over the last day.
func moveBack(t *testing.T, db *sqldb.DB, rnd *rand.Rand) error {
	migration, err := os.ReadFile("../sqldb/migrations/sqlite/0019_statistics.sql")
	if err != nil {
		return err
	}
	// It counts attempts by the hour; by the minute it is the same with other numbers.
	hours := regexp.MustCompile(`(?s)INSERT INTO attempt_count.*?;`).FindString(string(migration))
	minutes := strings.NewReplacer("3600000000000 * 3600", "60000000000 * 60", "endpoint, 3600,", "endpoint, 60,").Replace(hours)
	if hours == minutes {
		t.Fatalf("the migration does not count as expected: %s", migration)
	}
	return db.Write(t.Context(), sqldb.Bulk, func(tx *sqldb.Tx) error {
		type row struct {
			pos    int64
			record []byte
		}
		var rows []row
		err := tx.Each("SELECT pos, record FROM event ORDER BY pos DESC", nil, func(scan sqldb.Scan) error {
			var r row
			rows = append(rows, r)
			return scan(&rows[len(rows)-1].pos, &rows[len(rows)-1].record)
		})
		if err != nil {
			return err
		}
		var back time.Duration
		var last time.Time
		for _, r := range rows { // the newest first
			e := &event.Event{}
			if err := json.Unmarshal(r.record, e); err != nil {
				return err
			}
			if last.IsZero() || last.Sub(e.At) > 0 && e.Action != event.Quarantine { // a push comes right after its quarantine
				back += time.Duration(rnd.ExpFloat64() * float64(46*time.Hour) / float64(len(rows)))
			}
			last = e.At
			e.At = e.At.Add(-back)
			record, err := json.Marshal(e)
			if err != nil {
				return err
			}
			for _, change := range []struct {
				sql  string
				args []any
			}{
				{"UPDATE event SET at = $1, record = $2, acr_body = $3 WHERE pos = $4", []any{e.At.UnixNano(), record, event.ACRBody(e), r.pos}},
				{"UPDATE attempt SET started_at = started_at - $1 WHERE pos = $2", []any{int64(back), r.pos}},
				{"UPDATE manifest SET pushed_at = $1 WHERE digest = $2", []any{e.At.UnixNano(), e.Target.Digest}},
				{"UPDATE tag SET created_at = $1, updated_at = $1 WHERE name = $2 AND manifest IN (SELECT id FROM manifest WHERE digest = $3)", []any{e.At.UnixNano(), e.Target.Tag, e.Target.Digest}},
			} {
				if _, err := tx.Exec(change.sql, change.args...); err != nil {
					return err
				}
			}
		}
		for _, sql := range []string{
			"DELETE FROM attempt_count", hours, minutes,
			"UPDATE repository SET created_at = (SELECT min(pushed_at) FROM manifest WHERE repository = repository.id), updated_at = (SELECT max(pushed_at) FROM manifest WHERE repository = repository.id) WHERE id IN (SELECT repository FROM manifest)",
			"UPDATE registry SET created_at = (SELECT min(at) FROM event)",
			"UPDATE endpoint SET first_fail_at = (SELECT min(started_at) FROM attempt WHERE endpoint = endpoint.id AND outcome = 'failed') WHERE first_fail_at IS NOT NULL",
			"UPDATE endpoint SET paused_at = (SELECT min(at) FROM event) WHERE paused_at IS NOT NULL",
		} {
			if _, err := tx.Exec(sql); err != nil {
				return fmt.Errorf("%w: %s", err, sql)
			}
		}
		return nil
	})
}

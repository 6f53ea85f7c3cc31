package harness_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/tenant"
)

const (
	loggedAttempts = 1_000_000
	loggedPushes   = 100
	logPages       = 400 // requests that are measured, on each server
)

// BenchmarkPortalLog measures how long the portal takes for the page of a webhook,
// with the newest attempts of its log, where the log has a million attempts of as many
// events, beside a server on which the same last hundred pushes are all there is. The
// requests go to both in turn; the medians are compared.
func BenchmarkPortalLog(b *testing.B) {
	ctx := b.Context()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	b.Cleanup(receiver.Close)
	var servers [2]*harness.Server // with a million attempts, and with a hundred
	for i := range servers {
		data := b.TempDir()
		s := harness.Start(b, data)
		s.Webhook("loghook", receiver.URL, "push")
		if err := s.PushBlob(ctx, "app", []byte("{}")); err != nil {
			b.Fatal(err)
		}
		s.Must(http.StatusCreated, "PUT", "/v2/app/manifests/first", harness.ManifestType, harness.Manifest("first"))
		awaitAttempts(b, s, 1)
		s.Stop()
		if i == 0 {
			began := time.Now()
			offline(b, data, fillLog)
			b.Logf("%d attempts written in %s", loggedAttempts, time.Since(began).Round(time.Second))
		}
		s = harness.Start(b, data)
		for n := range loggedPushes {
			s.Must(http.StatusCreated, "PUT", fmt.Sprintf("/v2/app/manifests/v%d", n), harness.ManifestType, harness.Manifest(fmt.Sprint(n)))
		}
		awaitAttempts(b, s, loggedPushes)
		servers[i] = s
	}
	var visitors [2]*http.Client
	for i, s := range servers {
		jar, _ := cookiejar.New(nil)
		visitors[i] = &http.Client{Jar: jar}
		res, err := visitors[i].PostForm(s.URL+"/portal/login", url.Values{"username": {"dockbell"}, "password": {harness.Password}})
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatalf("login: %v, error %v", res, err)
		}
		res.Body.Close()
	}
	for _, page := range []struct{ name, query string }{{"Newest", ""}, {"Failed", "?outcome=failed"}, {"Tag", "?image=app:v7"}} {
		b.Run(page.name, func(b *testing.B) {
			var took [2][]time.Duration
			for n := range logPages + 20 {
				for i, s := range servers {
					began := time.Now()
					res, err := visitors[i].Get(s.URL + "/portal/registries/dockbell/webhooks/loghook" + page.query)
					if err != nil {
						b.Fatal(err)
					}
					size, err := io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if err != nil || res.StatusCode != http.StatusOK || res.Request.URL.Path != "/portal/registries/dockbell/webhooks/loghook" || size < 5000 {
						b.Fatalf("status %d, %d bytes of %s, error %v", res.StatusCode, size, res.Request.URL, err)
					}
					if n >= 20 { // the first ones find nothing in memory
						took[i] = append(took[i], time.Since(began))
					}
				}
			}
			slices.Sort(took[0])
			slices.Sort(took[1])
			million, hundred := quantile(took[0], 0.5), quantile(took[1], 0.5)
			ratio := float64(million) / float64(hundred)
			b.ReportMetric(float64(million.Microseconds())/1000, "million-ms")
			b.ReportMetric(float64(hundred.Microseconds())/1000, "hundred-ms")
			b.ReportMetric(ratio, "million/hundred")
			b.ReportMetric(0, "ns/op")
			if page.query == "" && ratio > 1.5 {
				b.Errorf("the page takes %s with %d attempts and %s with %d", million, loggedAttempts, hundred, loggedPushes)
			}
		})
	}
}

// awaitAttempts waits until the webhook's log has n attempts.
func awaitAttempts(b *testing.B, s *harness.Server, n int) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		log := s.Must(http.StatusOK, "POST", "/api/v1/registries/dockbell/webhooks/loghook/listEvents", nil, nil)
		if bytes.Count(log, []byte(`"eventRequestMessage"`)) >= min(n, 100) { // of which a page has 100
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the log has not %d attempts: %.2000s", n, log)
		}
	}
}

// fillLog writes pushes of the last day, and an attempt for each, as the one that is
// there. Nearly all of them were delivered.
func fillLog(db *sqldb.DB) error {
	ctx := context.Background()
	tenants, err := tenant.Open(ctx, db, tenant.Options{})
	if err != nil {
		return err
	}
	r := tenants.Default()
	record, body := marked(sourceOf(r))
	const step = 50_000
	for from := 0; from < loggedAttempts; from += step {
		err := db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			last, err := outbox.Last(tx)
			if err != nil {
				return err
			}
			begin := tx.Now().Add(-24 * time.Hour).UnixNano()
			_, err = tx.Exec(`INSERT INTO event (pos, id, at, registry, location, action, repository, tag, digest, record, acr_body)
				SELECT pos, id, at, $1, $2, 'push', 'app', tag, digest,
					CAST(replace(replace(replace($3, 'THE-ID', id), 'THE-TAG', tag), 'THE-DIGEST', digest) AS BLOB),
					CAST(replace(replace(replace($4, 'THE-ID', id), 'THE-TAG', tag), 'THE-DIGEST', digest) AS BLOB)
				FROM (WITH RECURSIVE counted(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counted WHERE i < $5)
					SELECT $6 + i AS pos, printf('%08x-0000-4000-8000-000000000000', $6 + i) AS id, $7 + ($8 + i) * 86400000 AS at, 'old' || ($8 + i) AS tag, printf('sha256:%064x', $6 + i) AS digest FROM counted)`,
				r.ID, r.Location, string(record), string(body), step, int64(last), begin, from)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`INSERT INTO attempt (endpoint, pos, replay_no, n, started_at, micros, outcome, status, error_class, error_message, request_head, response_head, response_body, node)
				SELECT a.endpoint, e.pos, 0, 1, e.at, a.micros, CASE WHEN e.pos % 1000 = 0 THEN 'failed' ELSE 'delivered' END, a.status, '', '', a.request_head, a.response_head, NULL, a.node
				FROM event e, (SELECT * FROM attempt WHERE id = (SELECT min(id) FROM attempt)) a WHERE e.pos > $1`, int64(last))
			if err != nil {
				return err
			}
			last, err = outbox.Last(tx)
			if err != nil {
				return err
			}
			return outbox.SetExpanded(tx, last)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

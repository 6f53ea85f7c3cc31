package harness_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// BenchmarkCollection measures what collections cost those who push: p50 and p99 of
// manifest pushes to the real program, by one client and by eight, while a collection
// runs over 100,000 manifests, beside the mean of those before and after it. The first
// collection reads everything and condemns 50,000 blobs, the second removes them.
func BenchmarkCollection(b *testing.B) {
	data := b.TempDir()
	flags := []string{"--collect-every", "0", "--collect-grace", "0"}
	s := harness.Start(b, data, flags...)
	if err := s.PushBlob(context.Background(), "app", []byte("{}")); err != nil {
		b.Fatal(err)
	}
	s.Stop()
	began := time.Now()
	offline(b, data, manyImages)
	b.Logf("filled in %s", time.Since(began).Round(time.Second))
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprint("Clients", clients), func(b *testing.B) {
			offline(b, data, uselessBlobs) // an earlier run removed them
			s := harness.Start(b, data, flags...)
			p := &pushing{b: b, s: s, clients: clients}
			for _, what := range []string{"condemn", "remove"} {
				before := p.until(func() bool { return false }, 10*time.Second)
				started := time.Now()
				id := startCollection(b, s)
				var c collected
				during := p.until(func() bool { c = lookAt(b, s, id); return c.State != "running" }, 10*time.Minute)
				took := time.Since(started)
				after := p.until(func() bool { return false }, 10*time.Second)
				b.Logf("%s: %+v took %s; %d pushes meanwhile", what, c, took.Round(time.Millisecond), len(during))
				for _, q := range []struct {
					name string
					part float64
				}{{"p50", 0.5}, {"p99", 0.99}} {
					reference := (quantile(before, q.part) + quantile(after, q.part)) / 2
					ratio := float64(quantile(during, q.part)) / float64(reference)
					b.Logf("%s: push %s %s, before %s, after %s: ratio %.2f", what, q.name, quantile(during, q.part), quantile(before, q.part), quantile(after, q.part), ratio)
					b.ReportMetric(ratio, what+"-"+q.name+"/without")
				}
			}
			b.Logf("peak memory %d MiB", s.PeakMemory()>>20)
			b.ReportMetric(0, "ns/op")
			s.Stop()
		})
	}
}

const (
	manyRepositories = 1000
	perRepository    = 100
	uselessPer       = 50 // blobs of a repository that nothing refers to
)

// manyImages writes 100,000 images of a config and eight layers each, of which every
// tenth image of a repository shares four.
func manyImages(db *sqldb.DB) error {
	ctx := context.Background()
	digest := func(kind string, repo, n int) string {
		return harness.Digest(fmt.Appendf(nil, "%s %d %d", kind, repo, n))
	}
	for repo := range manyRepositories {
		err := db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			id, _, err := tx.Insert("id", "INSERT INTO repository (registry, name, created_at, updated_at) SELECT id, $1, 0, 0 FROM registry", fmt.Sprint("many/r", repo))
			if err != nil {
				return err
			}
			link := func(digest string) error {
				if _, err := tx.Exec("INSERT INTO content (digest, size, data, created_at) VALUES ($1, 100, $2, 0) ON CONFLICT DO NOTHING", digest, make([]byte, 100)); err != nil {
					return err
				}
				_, err := tx.Exec("INSERT INTO blob_link (repository, digest, linked_at) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", id, digest)
				return err
			}
			for n := range perRepository {
				layers := []string{digest("config", repo, n)}
				for l := range 4 {
					layers = append(layers, digest("shared", repo, n/10*4+l), digest("own", repo, n*4+l))
				}
				type descriptor struct {
					MediaType string `json:"mediaType"`
					Digest    string `json:"digest"`
					Size      int64  `json:"size"`
				}
				var all []descriptor
				for _, l := range layers {
					if err := link(l); err != nil {
						return err
					}
					all = append(all, descriptor{"application/vnd.oci.image.layer.v1.tar+gzip", l, 100})
				}
				data, err := json.Marshal(map[string]any{
					"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": all[0], "layers": all[1:],
				})
				if err != nil {
					return err
				}
				if _, err := tx.Exec(`INSERT INTO manifest (repository, digest, media_type, artifact_type, size, data, pushed_at)
					VALUES ($1, $2, 'application/vnd.oci.image.manifest.v1+json', '', $3, $4, 0)`, id, harness.Digest(data), len(data), data); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// uselessBlobs adds 50,000 blobs of 4 KiB that nothing refers to.
func uselessBlobs(db *sqldb.DB) error {
	for repo := range manyRepositories {
		err := db.Write(context.Background(), sqldb.Bulk, func(tx *sqldb.Tx) error {
			for n := range uselessPer {
				digest := harness.Digest(fmt.Appendf(nil, "useless %d %d", repo, n))
				if _, err := tx.Exec("INSERT INTO content (digest, size, data, created_at) VALUES ($1, 4096, $2, 0) ON CONFLICT DO NOTHING", digest, make([]byte, 4096)); err != nil {
					return err
				}
				if _, err := tx.Exec("INSERT INTO blob_link (repository, digest, linked_at) SELECT id, $1, 0 FROM repository WHERE name = $2 ON CONFLICT DO NOTHING", digest, fmt.Sprint("many/r", repo)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// collected is a collection as the control plane shows it.
type collected struct {
	ID                                                  int64
	State                                               string
	Manifests, Links, Condemned, Unlinked, Blobs, Bytes int64
}

func startCollection(b *testing.B, s *harness.Server) (id int64) {
	b.Helper()
	var c collected
	if err := json.Unmarshal(s.Must(http.StatusAccepted, "POST", "/api/v1/garbageCollections", nil, nil), &c); err != nil {
		b.Fatal(err)
	}
	return c.ID
}

func lookAt(b *testing.B, s *harness.Server, id int64) (c collected) {
	b.Helper()
	if err := json.Unmarshal(s.Must(http.StatusOK, "GET", fmt.Sprint("/api/v1/garbageCollections/", id), nil, nil), &c); err != nil {
		b.Fatal(err)
	}
	return c
}

// pushing pushes manifests, each client one after the other.
type pushing struct {
	b       *testing.B
	s       *harness.Server
	clients int
	pushed  int
}

// until pushes until done, which is asked once a second, or for so long. It returns
// what each push took, in rising order.
func (p *pushing) until(done func() bool, most time.Duration) []time.Duration {
	p.b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	p.pushed++
	var mu sync.Mutex
	var all []time.Duration
	var clients sync.WaitGroup
	for c := range p.clients {
		clients.Go(func() {
			var took []time.Duration
			for n := 0; ctx.Err() == nil; n++ {
				tag := fmt.Sprintf("t%d-%d-%d", p.pushed, c, n)
				at := time.Now()
				status, answer, err := p.s.Do(context.Background(), "PUT", "/v2/app/manifests/"+tag, harness.ManifestType, harness.Manifest(fmt.Sprint(p.clients, tag)))
				if err != nil || status != http.StatusCreated {
					p.b.Errorf("push: %d %s, %v", status, answer, err)
					return
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			if done() {
				cancel()
			}
		case <-ctx.Done():
		}
	}
	clients.Wait()
	slices.Sort(all)
	return all
}

package harness_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestKill9Charts kills the real program while charts are pushed, overwritten and
// deleted, half of them large enough for files. After each kill every acknowledged
// change has exactly its event, the tables are what the events say, and whatever
// file a row names is there, whole.
func TestKill9Charts(t *testing.T) {
	kills := 15
	if testing.Short() {
		kills = 3
	}
	data := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var history []*change
	for round := range kills {
		s := harness.Start(t, data)
		done := make(chan []*change)
		ctx, cancel := context.WithCancel(context.Background())
		const workers = 4
		for w := range workers {
			go func() {
				done <- loadCharts(ctx, s, fmt.Sprintf("chart%d-%d", round, w), rand.New(rand.NewPCG(seed, uint64(round*workers+w+1))))
			}()
		}
		time.Sleep(time.Duration(20+rnd.IntN(300)) * time.Millisecond) // when the power goes is chance
		s.Kill()
		cancel()
		for range workers {
			history = append(history, <-done...)
		}
		checkCharts(t, data, history)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
	if acked(history) == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d kills, %d changes acknowledged of %d asked for", kills, acked(history), len(history))
}

// loadCharts changes versions of a chart until the server is gone.
func loadCharts(ctx context.Context, s *harness.Server, name string, rnd *rand.Rand) (history []*change) {
	there := map[string]string{} // digests
	do := func(action, method, tag, digest string, body []byte, want int) bool {
		c := &change{action: action, repo: "repo", tag: tag, digest: digest}
		history = append(history, c)
		status, _, err := s.Do(ctx, method, "/helm/v1/repo/_blobs/"+tag, nil, body)
		c.acked = err == nil && status == want
		return c.acked
	}
	for {
		version := fmt.Sprintf("0.%d.0", rnd.IntN(5))
		tag := name + "-" + version + ".tgz"
		digest, exists := there[tag]
		if exists && rnd.IntN(3) == 0 {
			if !do("chart_delete", http.MethodDelete, tag, digest, nil, http.StatusOK) {
				return history
			}
			delete(there, tag)
			continue
		}
		body := chartPackage(name, version, rnd, 100+rnd.IntN(2)*100_000)
		method, status := http.MethodPut, http.StatusCreated
		if exists {
			method, status = http.MethodPatch, http.StatusOK
		}
		there[tag] = harness.Digest(body)
		if !do("chart_push", method, tag, there[tag], body, status) {
			return history
		}
	}
}

// chartPackage returns a package unlike any other.
func chartPackage(name, version string, rnd *rand.Rand, filler int) []byte {
	noise := make([]byte, filler)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	w := tar.NewWriter(zip)
	for _, file := range [][2]string{{"Chart.yaml", "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"}, {"filler", string(noise)}} {
		w.WriteHeader(&tar.Header{Name: name + "/" + file[0], Mode: 0o644, Size: int64(len(file[1]))})
		io.WriteString(w, file[1])
	}
	w.Close()
	zip.Close()
	return buf.Bytes()
}

// checkCharts compares events, tables and files with each other and with what
// clients were told.
func checkCharts(t *testing.T, data string, history []*change) {
	t.Helper()
	var events []outbox.Entry
	charts := map[string]string{}
	read(t, data, func(tx *sqldb.Tx) (err error) {
		if events, err = outbox.After(tx, 0, 1<<30); err != nil {
			return err
		}
		return tx.Each("SELECT c.package, c.digest, k.data, coalesce(k.file, '') FROM chart c LEFT JOIN chart_content k ON k.chart = c.id", nil, func(scan sqldb.Scan) error {
			var name, digest, file string
			var content []byte
			if err := scan(&name, &digest, &content, &file); err != nil {
				return err
			}
			if file != "" {
				if content, err = os.ReadFile(filepath.Join(data, file)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if harness.Digest(content) != digest {
				t.Errorf("%s has %s, its row says %s", name, harness.Digest(content), digest)
			}
			charts[name] = digest
			return nil
		})
	})
	seen, want := map[change]int{}, map[string]string{}
	for _, entry := range events {
		target := entry.Event.Target
		seen[change{action: string(entry.Event.Action), repo: target.Repository, tag: target.Tag, digest: target.Digest}]++
		if want[target.Tag] = target.Digest; entry.Event.Action == "chart_delete" {
			delete(want, target.Tag)
		}
	}
	for _, c := range history {
		key := *c
		key.acked = false
		if n := seen[key]; n > 1 || n == 0 && c.acked {
			t.Errorf("%+v has %d events", *c, n)
		}
		delete(seen, key)
	}
	for c := range seen {
		t.Errorf("an event stands for %+v, which nobody asked for", c)
	}
	if diff := cmp.Diff(want, charts); diff != "" {
		t.Errorf("the charts are not those of the events (-events +tables):\n%s", diff)
	}
}

package harness_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestKillDuringCollection kills the real program while images made of the same few
// layers come and go, and collections run one after the other with no grace time.
// After each kill every image that was acknowledged, and not deleted, is whole: rows,
// files, and what is in them. In the end nothing else is left.
func TestKillDuringCollection(t *testing.T) {
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("DOCKBELL_TEST_KILLS")); err == nil {
		kills = n
	}
	if testing.Short() {
		kills = 3
	}
	data := t.TempDir()
	flags := []string{"--collect-every", "0", "--collect-grace", "0"}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const workers = 4
	var stock []*stocked
	var collected, meanwhile int64
	for round := range kills {
		s := harness.Start(t, data, flags...)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan []*stocked)
		for w := range workers {
			go func() {
				p := &stocker{s: s, name: fmt.Sprintf("%d.%d", round, w), rnd: rand.New(rand.NewPCG(seed, uint64(round*workers+w+1)))}
				p.run(ctx)
				done <- p.mine
			}()
		}
		counted := make(chan int64)
		go func() { counted <- collectUntil(ctx, s) }()
		time.Sleep(time.Duration(100+rnd.IntN(400)) * time.Millisecond) // when the power goes is chance
		s.Kill()
		cancel()
		for range workers {
			stock = append(stock, <-done...)
		}
		meanwhile += <-counted
		checkStock(t, data, stock)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}

	// What is left of uploads that were cut off is collected when it is a day old.
	old := time.Now().Add(-25 * time.Hour)
	for _, pattern := range []string{"uploads/*", "blobs/*/*/*"} {
		for _, file := range glob(t, data, pattern) {
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := harness.Start(t, data, flags...)
	live := 0
	for _, m := range stock {
		if m.there && !m.doubtful {
			live++
			s.Must(http.StatusOK, "GET", "/v2/"+m.repo+"/manifests/"+m.digest, nil, nil)
			for _, layer := range m.layers {
				if got := s.Must(http.StatusOK, "GET", "/v2/"+m.repo+"/blobs/"+harness.Digest(layer), nil, nil); !bytes.Equal(got, layer) {
					t.Errorf("%s has %d bytes for a layer of %d", m.digest, len(got), len(layer))
				}
			}
		}
		if !m.there && !m.doubtful {
			continue
		}
		s.Do(t.Context(), "DELETE", "/v2/"+m.repo+"/manifests/"+m.digest, nil, nil) // also those that nobody knows of
	}
	for range 2 {
		collected += collectOnce(t.Context(), s)
	}
	s.Stop()
	var links, contents int
	read(t, data, func(tx *sqldb.Tx) error {
		return tx.Get("SELECT (SELECT count(*) FROM blob_link), (SELECT count(*) FROM content)", nil, &links, &contents)
	})
	if files := append(glob(t, data, "uploads/*"), glob(t, data, "blobs/*/*/*")...); links != 0 || contents != 0 || len(files) != 0 {
		t.Errorf("left are %d links, %d contents and the files %q", links, contents, files)
	}
	t.Logf("%d kills, %d images, %d live in the end, %d contents collected meanwhile and %d then", kills, len(stock), live, meanwhile, collected)
	if kills >= 20 && meanwhile == 0 {
		t.Error("nothing was collected meanwhile: nobody met")
	}
}

func glob(t *testing.T, data, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// collectOnce runs a collection to its end and returns how many contents it removed.
func collectOnce(ctx context.Context, s *harness.Server) (blobs int64) {
	const path = "/api/v1/garbageCollections"
	status, answer, err := s.Do(ctx, "POST", path, nil, nil)
	for err == nil && status/100 == 2 {
		var c struct {
			ID, Blobs int64
			State     string
		}
		if json.Unmarshal(answer, &c) != nil || c.State != "running" {
			return c.Blobs
		}
		time.Sleep(5 * time.Millisecond)
		status, answer, err = s.Do(ctx, "GET", fmt.Sprint(path, "/", c.ID), nil, nil)
	}
	return 0
}

// collectUntil runs collections until ctx ends.
func collectUntil(ctx context.Context, s *harness.Server) (blobs int64) {
	for ctx.Err() == nil {
		blobs += collectOnce(ctx, s)
	}
	return blobs
}

// stocked is an image that was asked for.
type stocked struct {
	repo, digest string
	layers       [][]byte
	there        bool // it was acknowledged, and its deletion not asked for
	doubtful     bool // a request for it was not answered
}

// stocker pushes images and deletes them.
type stocker struct {
	s    *harness.Server
	name string
	rnd  *rand.Rand
	mine []*stocked
}

// stockLayers are what all images are made of: contents in the database and in files.
var stockLayers = func() (all [][]byte) {
	for i := range 60 {
		all = append(all, bytes.Repeat([]byte{byte(i)}, 100+i%2*70_000))
	}
	return all
}()

// run works until the server is gone.
func (p *stocker) run(ctx context.Context) {
	for n := 0; ; n++ {
		var live []*stocked
		for _, m := range p.mine {
			if m.there && !m.doubtful {
				live = append(live, m)
			}
		}
		if len(live) > 3 || len(live) > 0 && p.rnd.IntN(2) == 0 {
			m := live[p.rnd.IntN(len(live))]
			m.doubtful = true
			status, _, err := p.s.Do(ctx, "DELETE", "/v2/"+m.repo+"/manifests/"+m.digest, nil, nil)
			if err != nil || status != http.StatusAccepted {
				return
			}
			m.there, m.doubtful = false, false
			continue
		}
		if !p.push(ctx, n) {
			return
		}
	}
}

// push reports whether the server answers.
func (p *stocker) push(ctx context.Context, n int) bool {
	m := &stocked{repo: fmt.Sprintf("stock/r%d", p.rnd.IntN(2)), layers: [][]byte{stockLayers[p.rnd.IntN(60)], stockLayers[p.rnd.IntN(60)]}, doubtful: true}
	layer := func(content []byte) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, harness.Digest(content), len(content))
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"annotations":{"note":"%s.%d"}}`,
		oci.MediaTypeImageManifest, layer(m.layers[0]), layer(m.layers[1]), p.name, n)
	m.digest = harness.Digest(manifest)
	p.mine = append(p.mine, m)
	for {
		for _, content := range m.layers {
			if !p.have(ctx, m.repo, content) {
				return false
			}
		}
		status, _, err := p.s.Do(ctx, "PUT", "/v2/"+m.repo+"/manifests/"+m.digest, harness.ManifestType, manifest)
		switch {
		case err == nil && status == http.StatusCreated:
			m.there, m.doubtful = true, false
			return true
		case err != nil || status != http.StatusNotFound && status != http.StatusBadRequest: // two collections since a layer was there
			return false
		}
	}
}

// have sees to it that a layer is in a repository, and reports whether it is.
func (p *stocker) have(ctx context.Context, repo string, content []byte) bool {
	if p.rnd.IntN(4) > 0 {
		status, _, err := p.s.Do(ctx, "HEAD", "/v2/"+repo+"/blobs/"+harness.Digest(content), nil, nil)
		if err != nil || status == http.StatusOK {
			return err == nil
		}
	}
	if p.rnd.IntN(2) == 0 {
		path := fmt.Sprintf("/v2/%s/blobs/uploads/?mount=%s&from=stock/r%d", repo, harness.Digest(content), p.rnd.IntN(2))
		status, _, err := p.s.Do(ctx, "POST", path, nil, nil)
		if err != nil || status == http.StatusCreated {
			return err == nil
		}
	}
	return p.s.PushBlob(ctx, repo, content) == nil
}

// checkStock looks for images in the database and the folder.
func checkStock(t *testing.T, data string, stock []*stocked) {
	t.Helper()
	read(t, data, func(tx *sqldb.Tx) error {
		for _, m := range stock {
			if !m.there || m.doubtful {
				continue
			}
			var manifests int
			err := tx.Get("SELECT count(*) FROM manifest m JOIN repository r ON r.id = m.repository WHERE r.name = $1 AND m.digest = $2", []any{m.repo, m.digest}, &manifests)
			if err != nil {
				return err
			}
			if manifests != 1 {
				t.Errorf("%s@%s was acknowledged and is gone", m.repo, m.digest)
			}
			for _, layer := range m.layers {
				var content []byte
				var file string
				err := tx.Get(`SELECT c.data, coalesce(c.file, '') FROM content c JOIN blob_link l ON l.digest = c.digest
					JOIN repository r ON r.id = l.repository WHERE r.name = $1 AND c.digest = $2`, []any{m.repo, harness.Digest(layer)}, &content, &file)
				if err == nil && file != "" {
					content, err = os.ReadFile(filepath.Join(data, file))
				}
				if err != nil || !bytes.Equal(content, layer) {
					t.Errorf("a layer of %s@%s: %d bytes of %d, %v", m.repo, m.digest, len(content), len(layer), err)
				}
			}
		}
		return nil
	})
}

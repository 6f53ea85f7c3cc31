package harness_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
)

// BenchmarkPush measures pushes per second with one webhook, and how long after
// its 201 a push rings, beside Debian's docker-registry in the same run, which
// rings its own notifications. It prints the ratio; best of three each.
func BenchmarkPush(b *testing.B) {
	for _, load := range []struct {
		name  string
		blobs int // pushed with each manifest
	}{{"manifest", 0}, {"image", 2}} {
		for _, clients := range []int{8, 64} {
			b.Run(fmt.Sprintf("%s/%d", load.name, clients), func(b *testing.B) {
				ours := best(b, startDockbell, load.blobs, clients)
				b.ReportMetric(ours.perSecond, "pushes/s")
				b.ReportMetric(ours.ring(0.5), "ring-p50-ms")
				b.ReportMetric(ours.ring(0.99), "ring-p99-ms")
				b.ReportMetric(0, "ns/op")
				if _, err := exec.LookPath("docker-registry"); err != nil {
					b.Log("NO PEER: docker-registry is not installed (Debian: apt-get install docker-registry), so there is no ratio")
					return
				}
				theirs := best(b, startDistribution, load.blobs, clients)
				b.ReportMetric(theirs.perSecond, "peer-pushes/s")
				b.ReportMetric(theirs.ring(0.5), "peer-ring-p50-ms")
				b.ReportMetric(ours.perSecond/theirs.perSecond, "times-peer")
			})
		}
	}
}

// registryUnderLoad is a registry that rings hook for every push.
type registryUnderLoad struct {
	url      string
	password string // of user dockbell; empty: none
	stop     func()
}

func startDockbell(b *testing.B, hook string) registryUnderLoad {
	s := harness.Start(b, b.TempDir())
	s.Webhook("benchhook", hook, "push")
	return registryUnderLoad{s.URL, harness.Password, s.Kill}
}

func startDistribution(b *testing.B, hook string) registryUnderLoad {
	dir := b.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "config.yml")
	err = os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: %s}
notifications: {endpoints: [{name: bench, url: %q, timeout: 5s, threshold: 5, backoff: 1s}]}
`, dir, addr, hook), 0o600)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop := func() { cmd.Process.Kill(); cmd.Wait() }
	for range 500 {
		if res, err := http.Get("http://" + addr + "/v2/"); err == nil {
			res.Body.Close()
			return registryUnderLoad{"http://" + addr, "", stop}
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	b.Fatal("docker-registry does not answer")
	panic("unreachable")
}

// measured is what one run came to.
type measured struct {
	perSecond float64
	rings     []time.Duration // from 201 to the receiver, sorted
}

// ring returns a quantile of the time from 201 to the ring, in milliseconds.
func (m measured) ring(q float64) float64 {
	if len(m.rings) == 0 {
		return 0
	}
	return float64(m.rings[int(q*float64(len(m.rings)-1))].Microseconds()) / 1000
}

func best(b *testing.B, start func(*testing.B, string) registryUnderLoad, blobs, clients int) (top measured) {
	for range 3 {
		if m := run(b, start, blobs, clients); m.perSecond > top.perSecond {
			top = m
		}
	}
	return top
}

const runFor = 3 * time.Second

// run pushes with a number of clients and listens to what rings.
func run(b *testing.B, start func(*testing.B, string) registryUnderLoad, blobs, clients int) measured {
	var mu sync.Mutex
	acked, heard := map[string]time.Time{}, map[string]time.Time{}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, dgst := range digests(body) {
			if _, ok := heard[dgst]; !ok {
				heard[dgst] = now
			}
		}
	}))
	defer hook.Close()
	reg := start(b, hook.URL)
	defer reg.stop()

	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	c := pusher{reg, &http.Client{Transport: transport}}
	if err := c.blob("bench/app", []byte("{}")); err != nil {
		b.Fatal(err)
	}
	var pushes atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for w := range clients {
		wg.Go(func() {
			for i := 0; time.Since(began) < runFor; i++ {
				note := fmt.Sprintf("%d.%d", w, i)
				for n := range blobs {
					if err := c.blob("bench/app", fmt.Appendf(nil, "blob %d of %s %0512d", n, note, n)); err != nil {
						b.Error(err)
						return
					}
				}
				manifest := harness.Manifest(note)
				if err := c.manifest("bench/app", "t"+note, manifest); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				pushes.Add(1)
				mu.Lock()
				acked[harness.Digest(manifest)] = now
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	await(func() bool { mu.Lock(); defer mu.Unlock(); return len(heard) >= len(acked) })
	mu.Lock()
	defer mu.Unlock()
	m := measured{perSecond: float64(pushes.Load()) / took.Seconds()}
	for dgst, at := range heard {
		if ack, ok := acked[dgst]; ok {
			m.rings = append(m.rings, max(0, at.Sub(ack)))
		}
	}
	slices.Sort(m.rings)
	return m
}

// await gives what is still on its way some time to arrive.
func await(done func() bool) {
	for range 100 {
		if done() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// digests returns what a notification says was pushed: ours names one digest,
// the peer's a list of events.
func digests(body []byte) (found []string) {
	var n struct {
		Target struct{ Digest string }
		Events []struct {
			Action string
			Target struct{ Digest string }
		}
	}
	if json.Unmarshal(body, &n) != nil {
		return nil
	}
	if n.Target.Digest != "" {
		found = append(found, n.Target.Digest)
	}
	for _, e := range n.Events {
		if e.Action == "push" {
			found = append(found, e.Target.Digest)
		}
	}
	return found
}

// pusher is a client that knows only what it needs.
type pusher struct {
	registryUnderLoad
	http *http.Client
}

// blob pushes as docker does: POST, then PUT of the content.
func (p pusher) blob(repo string, content []byte) error {
	location, err := p.send(http.MethodPost, p.url+"/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	to := location + separator + "digest=" + harness.Digest(content)
	if to[0] == '/' {
		to = p.url + to
	}
	_, err = p.send(http.MethodPut, to, "application/octet-stream", content, http.StatusCreated)
	return err
}

func (p pusher) manifest(repo, tag string, content []byte) error {
	_, err := p.send(http.MethodPut, p.url+"/v2/"+repo+"/manifests/"+tag, harness.ManifestType.Get("Content-Type"), content, http.StatusCreated)
	return err
}

func (p pusher) send(method, url, contentType string, body []byte, want int) (location string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if p.password != "" {
		req.SetBasicAuth("dockbell", p.password)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, answer)
	}
	return res.Header.Get("Location"), err
}

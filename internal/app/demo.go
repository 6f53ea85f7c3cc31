package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/term"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/portal"
)

// Demo shows the main job on this machine alone: it starts a server in a
// temporary folder and a receiver, makes a webhook, pushes an image and prints
// what rings. Unless once is set it then stays up until ctx ends, printing what
// the reader's own pushes ring.
func Demo(ctx context.Context, out io.Writer, once bool) error {
	dir, err := os.MkdirTemp("", "dockbell-demo-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	cfg := config.Default()
	cfg.Listen, cfg.Data = "127.0.0.1:0", dir
	server, err := Open(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving) }()
	err = (&demo{story: newStory(out), server: server}).run(ctx, once)
	stop()
	if serr := <-served; err == nil {
		err = serr
	}
	return err
}

// demo is one telling of the story.
type demo struct {
	*story
	server *Server
}

// What the demo makes.
const (
	demoWebhook = "demohook"
	demoImage   = "hello/world"
	demoTag     = "v1"
)

func (d *demo) run(ctx context.Context, once bool) error {
	d.line("server", "%s  (registry %s, data in a temporary folder)", d.server.URL(), d.server.Operator())
	receiver, err := d.receive()
	if err != nil {
		return err
	}
	defer receiver.Close()
	hook := "http://" + receiver.addr + "/"
	d.line("receiver", "%s", hook)

	address, err := url.Parse(d.server.URL())
	if err != nil {
		return err
	}
	control := controlclient.New(address, d.server.Operator(), d.server.Password, http.DefaultClient)
	registry := d.server.tenants.Default()
	_, err = control.PutWebhook(ctx, registry.Name, demoWebhook, controlclient.WebhookCreate{
		Location:   registry.Location,
		Properties: controlclient.WebhookCreateProperties{ServiceURI: hook, Actions: []string{"push", "delete"}},
	})
	if err != nil {
		return err
	}
	d.line("webhook", "%s rings %s on push and delete", demoWebhook, hook)

	pushed, err := d.push(ctx)
	if err != nil {
		return fmt.Errorf("push the demo's image: %w", err)
	}
	select {
	case <-receiver.rang:
	case <-time.After(15 * time.Second):
		return fmt.Errorf("the push of %s was answered with 201, but no webhook rang within 15 s", pushed)
	case <-ctx.Done():
		return nil
	}
	if err := d.log(ctx, control); err != nil {
		return err
	}
	if once {
		return nil
	}
	d.invite()
	<-ctx.Done()
	d.text("\nstopped; the temporary folder is gone\n")
	return nil
}

// push makes a small real image and pushes it over HTTP, like any client.
func (d *demo) push(ctx context.Context) (string, error) {
	source := memory.New()
	manifest, size, err := makeImage(ctx, source)
	if err != nil {
		return "", err
	}
	host := d.server.Addr().String()
	repo, err := remote.NewRepository(host + "/" + demoImage)
	if err != nil {
		return "", err
	}
	repo.PlainHTTP = true
	repo.Client = &auth.Client{
		Credential: auth.StaticCredential(host, auth.Credential{Username: d.server.Operator(), Password: d.server.Password}),
	}
	bar := d.progress("push", size)
	opts := oras.CopyOptions{}
	opts.PostCopy = func(_ context.Context, desc ocispec.Descriptor) error {
		bar.add(desc.Size)
		return nil
	}
	started := time.Now()
	if _, err := oras.Copy(ctx, source, demoTag, repo, demoTag, opts); err != nil {
		return "", err
	}
	bar.done()
	image := host + "/" + demoImage + ":" + demoTag
	d.line("push", "%s  %s  %s in %s", image, short(manifest.Digest.String()), bytesText(size), ms(time.Since(started)))
	return image, nil
}

// makeImage puts an image of one layer into the store, under demoTag.
func makeImage(ctx context.Context, store *memory.Store) (manifest ocispec.Descriptor, size int64, err error) {
	layer, diffID, err := makeLayer()
	if err != nil {
		return manifest, 0, err
	}
	image := ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   ocispec.ImageConfig{Cmd: []string{"/hello"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	}
	config, err := json.Marshal(image)
	if err != nil {
		return manifest, 0, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	add := func(mediaType string, content []byte) (ocispec.Descriptor, error) {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
		size += desc.Size
		return desc, store.Push(ctx, desc, bytes.NewReader(content))
	}
	if m.Config, err = add(ocispec.MediaTypeImageConfig, config); err != nil {
		return manifest, 0, err
	}
	l, err := add(ocispec.MediaTypeImageLayerGzip, layer)
	if err != nil {
		return manifest, 0, err
	}
	m.Layers = []ocispec.Descriptor{l}
	text, err := json.Marshal(m)
	if err != nil {
		return manifest, 0, err
	}
	if manifest, err = add(ocispec.MediaTypeImageManifest, text); err != nil {
		return manifest, 0, err
	}
	return manifest, size, store.Tag(ctx, manifest, demoTag)
}

// makeLayer returns a gzipped tar of two files, one of them a few incompressible
// MiB, and the digest of the tar.
func makeLayer() (layer []byte, diffID digest.Digest, err error) {
	data := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{'d', 'o', 'c', 'k', 'b', 'e', 'l', 'l'}).Read(data)
	var plain, packed bytes.Buffer
	archive := tar.NewWriter(&plain)
	for name, content := range map[string][]byte{"hello": []byte("#!/bin/sh\necho hello from dockbell\n"), "data": data} {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, "", err
		}
		if _, err := archive.Write(content); err != nil {
			return nil, "", err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, "", err
	}
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(plain.Bytes()); err != nil {
		return nil, "", err
	}
	if err := zip.Close(); err != nil {
		return nil, "", err
	}
	return packed.Bytes(), digest.FromBytes(plain.Bytes()), nil
}

// log prints the newest entry of the delivery log. The engine writes it after
// the receiver's answer, so it may take a moment to be there.
func (d *demo) log(ctx context.Context, control *controlclient.Client) error {
	for range 200 {
		events, err := control.Events(ctx, controlclient.Endpoint{Kind: controlclient.OfWebhook, Registry: d.server.Operator(), Name: demoWebhook}, controlclient.EventFilter{})
		if err != nil {
			return err
		}
		if len(events) > 0 {
			e := events[0]
			d.line("log", "%s  %s %s  %s %s", e.ID, e.Request.Content.Action, e.Request.Content.Target.Repository+":"+e.Request.Content.Target.Tag,
				e.Response.StatusCode, e.Response.ReasonPhrase)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return fmt.Errorf("the webhook rang, but the log of %s has no entry after 5 s", demoWebhook)
}

// invite says what to type next.
func (d *demo) invite() {
	host := d.server.Addr().String()
	d.text("\nNow yours (Ctrl-C stops and removes everything):\n\n")
	d.text("  docker login %s -u %s -p %s\n", host, d.server.Operator(), d.server.Password)
	d.text("  docker tag IMAGE %s/IMAGE && docker push %s/IMAGE\n\n", host, host)
	d.text("  dockbell login %s -u %s -p %s\n", d.server.URL(), d.server.Operator(), d.server.Password)
	d.text("  dockbell webhook list-events -n %s\n\n", demoWebhook)
	d.text("  %s%s  (user %s, password %s)\n\n", d.server.URL(), portal.Root, d.server.Operator(), d.server.Password)
}

// receiver is a program that webhooks ring.
type receiver struct {
	addr   string
	rang   chan struct{} // closed at the first ring
	server *http.Server
}

// Close stops the receiver.
func (r *receiver) Close() { r.server.Close() }

// receive starts a receiver that prints what rings, and pulls the image from
// inside its handler: the event is true when it arrives.
func (d *demo) receive() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{addr: l.Addr().String(), rang: make(chan struct{})}
	var first sync.Once
	r.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body struct {
			Action    string    `json:"action"`
			Timestamp time.Time `json:"timestamp"`
			Target    struct{ Repository, Tag, Digest string }
		}
		if err := json.NewDecoder(io.LimitReader(req.Body, 1<<20)).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		image := body.Target.Repository
		if body.Target.Tag != "" {
			image += ":" + body.Target.Tag
		}
		d.line(d.green("ring"), "%s %s  %s %s  %s  rang %s after the transaction began, %s", req.Method, req.URL.Path, body.Action, image,
			short(body.Target.Digest), ms(time.Since(body.Timestamp)), d.pulled(req.Context(), body.Action, body.Target.Repository, body.Target.Digest))
		w.WriteHeader(http.StatusOK)
		first.Do(func() { close(r.rang) })
	})}
	go r.server.Serve(l)
	return r, nil
}

// pulled pulls the manifest an event names and says how that went.
func (d *demo) pulled(ctx context.Context, action, repository, dgst string) string {
	if action != "push" {
		return ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.URL()+"/v2/"+repository+"/manifests/"+dgst, nil)
	if err != nil {
		return err.Error()
	}
	req.SetBasicAuth(d.server.Operator(), d.server.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return fmt.Sprintf("pulled it from inside the handler: %d", res.StatusCode)
}

// story prints lines for people: a word in front, colour on a terminal only.
type story struct {
	mu     sync.Mutex
	out    io.Writer
	term   bool
	colour bool
}

func newStory(out io.Writer) *story {
	f, ok := out.(*os.File)
	isTerm := ok && term.IsTerminal(int(f.Fd()))
	return &story{out: out, term: isTerm, colour: isTerm && os.Getenv("NO_COLOR") == ""}
}

func (s *story) green(word string) string {
	if !s.colour {
		return word
	}
	return "\x1b[32m" + word + "\x1b[0m"
}

func (s *story) line(word, format string, args ...any) {
	pad := max(0, 10-len(word))
	if s.colour && word[0] == '\x1b' {
		pad += len("\x1b[32m\x1b[0m")
	}
	s.text("%s%*s%s\n", word, pad, "", fmt.Sprintf(format, args...))
}

func (s *story) text(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format, args...)
}

// bar shows how much of a push is done, on a terminal only.
type bar struct {
	story *story
	word  string
	total int64
	mu    sync.Mutex
	have  int64
}

func (s *story) progress(word string, total int64) *bar {
	b := &bar{story: s, word: word, total: total}
	b.add(0)
	return b
}

func (b *bar) add(n int64) {
	if !b.story.term {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have += n
	const width = 30
	full := int(b.have * width / max(b.total, 1))
	b.story.text("\r%-10s[%-*s] %s of %s", b.word, width, bytes.Repeat([]byte("#"), full), bytesText(b.have), bytesText(b.total))
}

// done takes the bar away; the line that follows says how it went.
func (b *bar) done() {
	if b.story.term {
		b.story.text("\r\x1b[K")
	}
}

func short(dgst string) string {
	const hexDigits = 12
	if n := len("sha256:") + hexDigits; len(dgst) > n {
		return dgst[:n]
	}
	return dgst
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

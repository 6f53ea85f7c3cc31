package ociserver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/oci/ocitest"
)

// filed is a registry whose one blob is a file.
type filed struct {
	oci.Registry
	name string
	dgst oci.Digest
}

func newFiled(t *testing.T, data []byte) *filed {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return &filed{nil, name, oci.FromBytes(oci.SHA256, data)}
}

func (f *filed) OpenBlob(context.Context, oci.Repository, oci.Digest) (*oci.Blob, error) {
	file, err := os.Open(f.name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &oci.Blob{
		Descriptor: oci.Descriptor{MediaType: oci.MediaTypeOctetStream, Digest: f.dgst, Size: info.Size()},
		Content:    file,
	}, nil
}

// kernel is a ResponseWriter that can be read into, as net/http's can. It knows
// what net/http asks before it uses sendfile.
type kernel struct {
	*httptest.ResponseRecorder
	from io.Reader
}

func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	k.from = r
	return io.Copy(k.ResponseRecorder, r)
}

// The bytes of a blob go from the file to the connection within the kernel:
// net/http does that when it is given an *os.File, at most inside one
// io.LimitedReader, and the type and length of the content.
func TestBlobIsSentByTheKernel(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	registry := newFiled(t, data)
	h := handler(t, registry)
	for header, want := range map[string][]byte{
		"": data, "bytes=10-": data[10:], "bytes=-7": data[len(data)-7:], "bytes=99999-500000": data[99_999:500_001],
	} {
		req := httptest.NewRequest("GET", "/v2/repo/blobs/"+string(registry.dgst), nil)
		if header != "" {
			req.Header.Set("Range", header)
		}
		w := &kernel{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, req)
		limited, ok := w.from.(*io.LimitedReader)
		if !ok {
			t.Fatalf("range %q: the connection was given a %T", header, w.from)
		}
		file, ok := limited.R.(*os.File)
		if !ok {
			t.Fatalf("range %q: the connection was given a limited %T", header, limited.R)
		}
		if _, err := file.Stat(); err == nil {
			t.Errorf("range %q: the file was not closed", header)
		}
		if !bytes.Equal(w.Body.Bytes(), want) {
			t.Errorf("range %q: %d other bytes were sent", header, w.Body.Len())
		}
		if w.Header().Get("Content-Type") == "" || w.Header().Get("Content-Length") != fmt.Sprint(len(want)) {
			t.Errorf("range %q: headers are %v", header, w.Header())
		}
	}
}

func TestBlobOverTheNetwork(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 500_000)
	registry := newFiled(t, data)
	server := serve(t, registry)
	res, err := server.Client().Get(server.URL + "/v2/repo/blobs/" + string(registry.dgst))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, data) || res.ContentLength != int64(len(data)) {
		t.Errorf("%d bytes came, Content-Length %d, %v", len(got), res.ContentLength, err)
	}
}

// shrunk is a blob that has fewer bytes than it says.
type shrunk struct{ *filed }

func (s shrunk) OpenBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (*oci.Blob, error) {
	blob, err := s.filed.OpenBlob(ctx, repo, dgst)
	if err == nil {
		blob.Descriptor.Size += 10
	}
	return blob, err
}

// When bytes are missing, the client must see that they are.
func TestBlobCutShort(t *testing.T) {
	t.Parallel()
	registry := shrunk{newFiled(t, []byte("0123456789"))}
	server := serve(t, registry)
	res, err := server.Client().Get(server.URL + "/v2/repo/blobs/" + string(registry.dgst))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q passes for the whole blob", got)
	}
}

// wire is a connection on which requests are written by hand.
type wire struct {
	net.Conn
	*bufio.Reader
}

func dial(t *testing.T, server *httptest.Server) wire {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // to fail, not to hang
	return wire{conn, bufio.NewReader(conn)}
}

// answer reads a response, with its body.
func (w wire) answer(t *testing.T) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(w.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// A refusal comes at once, though the client has not sent what it announced; and
// a client that does send a body of ordinary size keeps its connection.
func TestRefusedBodies(t *testing.T) {
	t.Parallel()
	server := serve(t, ocitest.Memory())
	for request, status := range map[string]int{
		"PATCH /v2/repo/blobs/uploads/unknown":                       404,
		"PUT /v2/repo/blobs/uploads/unknown?digest=" + unknownDigest: 404,
		"PUT /v2/repo/blobs/uploads/unknown":                         400,
		"POST /v2/repo/blobs/uploads/?digest=junk":                   400,
		"PUT /v2/repo/manifests/v1":                                  413,
		"PUT /v2/repo/manifests/sha256:bad":                          400,
		"PUT /v2/RE%2fPO/manifests/v1":                               400,
		"PUT /v2/":                                                   405,
	} {
		huge := dial(t, server)
		fmt.Fprintf(huge, "%s HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000000000\r\n\r\nthe first few bytes", request)
		if res, body := huge.answer(t); res.StatusCode != status || !strings.Contains(body, `"errors"`) {
			t.Errorf("%s, huge: %d %s; want %d", request, res.StatusCode, body, status)
		}

		waiting := dial(t, server)
		fmt.Fprintf(waiting, "%s HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n", request)
		if res, body := waiting.answer(t); res.StatusCode != status || !strings.Contains(body, `"errors"`) {
			t.Errorf("%s, expecting 100: %d %s; want %d", request, res.StatusCode, body, status)
		}

		if status == 413 {
			continue // only what is large is too large
		}
		small := dial(t, server)
		for range 3 {
			fmt.Fprintf(small, "%s HTTP/1.1\r\nHost: example.com\r\nContent-Length: 200000\r\n\r\n%s", request, strings.Repeat("x", 200_000))
			if res, body := small.answer(t); res.StatusCode != status || res.Close {
				t.Fatalf("%s, small: %d %s (closing: %v); want %d", request, res.StatusCode, body, res.Close, status)
			}
		}
	}
}

// A client that leaves in the middle of a chunk finds what arrived.
func TestUploadAfterTheClientLeft(t *testing.T) {
	t.Parallel()
	server := serve(t, ocitest.Memory())
	res, err := server.Client().Post(server.URL+"/v2/repo/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	at := res.Header.Get("Location")

	conn := dial(t, server)
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000\r\n\r\n0123456789", at)
	if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if res, body := conn.answer(t); res.StatusCode != 400 || !strings.Contains(body, oci.CodeBlobUploadInvalid) {
		t.Errorf("a chunk that is cut short: %d %s", res.StatusCode, body)
	}
	res, err = server.Client().Get(server.URL + at)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := res.Header.Get("Range"); got != "0-9" {
		t.Errorf("Range is %q after 10 bytes", got)
	}
}

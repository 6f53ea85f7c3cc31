package chart

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/fault"
)

// packed is an entry of an archive.
type packed struct {
	name string
	text string
	kind byte   // 0: a file
	link string // where a link leads
}

// archive returns a tar archive.
func archive(entries ...packed) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o644, Size: int64(len(e.text))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: e.kind, Name: e.name, PAXRecords: map[string]string{"comment": "commit"}}
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		io.WriteString(w, e.text)
	}
	w.Close()
	return buf.Bytes()
}

func compress(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(data)
	w.Close()
	return buf.Bytes()
}

func pack(entries ...packed) []byte { return compress(archive(entries...)) }

// bomb returns a gzip stream without an end: first, and then more so many times. It
// is made in no time, for each piece of it is compressed once.
func bomb(first, more []byte, times int) []byte {
	piece := func(data []byte) []byte {
		var buf bytes.Buffer
		w, err := flate.NewWriter(&buf, flate.BestSpeed)
		if err != nil {
			panic(err)
		}
		w.Write(data)
		w.Flush()
		return buf.Bytes()
	}
	header := compress(nil)[:10]
	return slices.Concat(header, piece(first), bytes.Repeat(piece(more), times))
}

// hello is the smallest chart there is.
const hello = "apiVersion: v2\nname: hello\nversion: 0.1.0\n"

func TestReadPackage(t *testing.T) {
	t.Parallel()
	want := metadata{APIVersion: "v2", Name: "hello", Version: "0.1.0"}
	for name, data := range map[string][]byte{
		"the least": pack(packed{name: "hello/Chart.yaml", text: hello}),
		"with all that Helm packs": pack(packed{name: "hello/Chart.yaml", text: hello}, packed{name: "hello/values.yaml", text: "a: 1"}, packed{name: "hello/.helmignore"},
			packed{name: "hello/templates/NOTES.txt", text: "x"}, packed{name: "hello/charts/sub/Chart.yaml", text: "name: sub"}, packed{name: "hello/charts/other-1.0.0.tgz", text: "x"}),
		"folders":                   pack(packed{name: "hello/", kind: tar.TypeDir}, packed{name: "hello/Chart.yaml", text: hello}, packed{name: "hello/templates/", kind: tar.TypeDir}),
		"git archive":               pack(packed{name: "pax_global_header", kind: tar.TypeXGlobalHeader}, packed{name: "hello/Chart.yaml", text: hello}),
		"packed on Windows":         pack(packed{name: `hello\Chart.yaml`, text: hello}, packed{name: `hello\templates\a.yaml`, text: "x"}),
		"a folder of another name":  pack(packed{name: "build-7/Chart.yaml", text: hello}),
		"Chart.yaml last":           pack(packed{name: "hello/values.yaml", text: strings.Repeat("x", 100_000)}, packed{name: "hello/Chart.yaml", text: hello}),
		"a byte order mark":         pack(packed{name: "hello/Chart.yaml", text: "\uFEFF" + hello}),
		"padding as tar writes it":  compress(append(archive(packed{name: "hello/Chart.yaml", text: hello}), make([]byte, 10_240)...)),
		"a path that is not clean":  pack(packed{name: "hello/./x/../Chart.yaml", text: hello}),
		"a path of Unicode":         pack(packed{name: "hello/Chart.yaml", text: hello}, packed{name: "hello/files/übung" + strings.Repeat("x", 200), text: "x"}),
		"an archive without an end": compress(archive(packed{name: "hello/Chart.yaml", text: hello})[:1024]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readPackage(iotest.OneByteReader(bytes.NewReader(data)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHostilePackages has what must not get in, and what the answer says.
func TestHostilePackages(t *testing.T) {
	t.Parallel()
	good := packed{name: "hello/Chart.yaml", text: hello}
	whole := pack(good)
	many := make([]packed, maxFiles+1)
	for i := range many {
		many[i] = packed{name: fmt.Sprintf("hello/%d", i)}
	}
	tests := map[string]struct {
		data []byte
		want string
	}{
		"nothing":                     {nil, "ends too early"},
		"a web page":                  {[]byte("<html><body>log in first</body></html>"), "not compressed with gzip"},
		"a tar archive":               {archive(good), "not compressed with gzip"},
		"YAML in gzip":                {compress([]byte(hello)), "ends too early"},
		"noise in gzip":               {compress(bytes.Repeat([]byte("noise"), 1000)), "invalid tar header"},
		"cut off":                     {whole[:len(whole)/2], "ends too early"},
		"cut off before the checksum": {whole[:len(whole)-4], "ends too early"},
		"a wrong checksum":            {append(bytes.Clone(whole[:len(whole)-8]), 1, 2, 3, 4, 5, 6, 7, 8), "checksum"},
		"two gzip members":            {slices.Concat(whole, whole), "follows the end of the gzip stream"},
		"an archive in two members":   {slices.Concat(compress(archive(good)[:512]), compress(archive(good)[512:])), "ends too early"},
		"garbage after the stream":    {append(bytes.Clone(whole), "garbage"...), "follows the end of the gzip stream"},
		"garbage after the archive":   {compress(append(archive(good), "garbage"...)), "follows the end of the archive"},
		"a second archive behind it":  {compress(append(archive(good), archive(packed{name: "evil/x"})...)), "follows the end of the archive"},
		"an empty archive":            {pack(), "no Chart.yaml"},
		"no Chart.yaml":               {pack(packed{name: "hello/values.yaml"}), "no Chart.yaml"},
		"Chart.yaml in a subfolder":   {pack(packed{name: "hello/charts/sub/Chart.yaml", text: hello}), "no Chart.yaml"},
		"Chart.yaml in lower case":    {pack(packed{name: "hello/chart.yaml", text: hello}), "no Chart.yaml"},
		"Chart.yaml as a folder":      {pack(packed{name: "hello/Chart.yaml/", kind: tar.TypeDir}), "no Chart.yaml"},
		"Chart.yaml without a folder": {pack(packed{name: "Chart.yaml", text: hello}), "not in a folder"},
		"below a dot":                 {pack(packed{name: "./hello/Chart.yaml", text: hello}), "leads out"},
		"two of them":                 {pack(good, packed{name: "hello/Chart.yaml", text: "name: other"}), "two files hello/Chart.yaml"},
		"two by another path":         {pack(good, packed{name: "hello/x/../Chart.yaml", text: "name: other"}), "two files hello/Chart.yaml"},
		"two charts":                  {pack(good, packed{name: "other/Chart.yaml", text: hello}), "two folders"},
		"a symbolic link":             {pack(packed{name: "hello/Chart.yaml", kind: tar.TypeSymlink, link: "/etc/passwd"}), "is a link"},
		"a hard link":                 {pack(good, packed{name: "hello/x", kind: tar.TypeLink, link: "hello/Chart.yaml"}), "is a link"},
		"a device":                    {pack(good, packed{name: "hello/x", kind: tar.TypeChar}), "neither a file nor a folder"},
		"a pipe":                      {pack(good, packed{name: "hello/x", kind: tar.TypeFifo}), "neither a file nor a folder"},
		"up and away":                 {pack(good, packed{name: "hello/../../etc/passwd"}), "leads out"},
		"only up":                     {pack(good, packed{name: "../etc/passwd"}), "leads out"},
		"up by backslashes":           {pack(good, packed{name: `hello\..\..\etc\passwd`}), "leads out"},
		"slashes of both kinds":       {pack(good, packed{name: `hello/a\..\..\x`}), "both slashes and backslashes"},
		"an absolute path":            {pack(packed{name: "/hello/Chart.yaml", text: hello}), "leads out"},
		"an absolute path inside":     {pack(good, packed{name: "hello//etc/passwd"}), "leads out"},
		"a drive":                     {pack(good, packed{name: "hello/c:/windows"}), "leads out"},
		"a drive at the top":          {pack(packed{name: "c:/Chart.yaml", text: hello}), "leads out"},
		"many files":                  {pack(many...), "more than 10000 files"},
		"a large file":                {pack(good, packed{name: "hello/x", text: strings.Repeat("x", maxFile+1)}), "5242881 bytes"},
		"a large Chart.yaml":          {pack(packed{name: "hello/Chart.yaml", text: hello + strings.Repeat("#", maxChartYAML)}), "Chart.yaml has"},
		"a bomb of zeros":             {bomb(archive(good), make([]byte, 1<<20), maxContent>>20), "when it is decompressed"},
		"a bomb of files":             {bomb(nil, archive(packed{name: "hello/x", text: strings.Repeat("x", maxFile)})[:512+maxFile], maxContent/maxFile+1), "when it is decompressed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := readPackage(bytes.NewReader(test.data))
			f := fault.As(err)
			if err == nil || f.Code != CodeInvalid || !strings.Contains(f.Message, test.want) {
				t.Errorf("%+v, %v; want %s with %q", m, err, CodeInvalid, test.want)
			}
		})
	}
}

// A disk that cannot be read is nobody's bad package.
func TestUnreadableDisk(t *testing.T) {
	t.Parallel()
	data := pack(packed{name: "hello/Chart.yaml", text: hello})
	broken := errors.New("the disk is on fire")
	for _, n := range []int{0, 5, 40} {
		_, err := readPackage(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || fault.As(err).Kind != fault.Internal {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func FuzzReadPackage(f *testing.F) {
	f.Add(pack(packed{name: "hello/Chart.yaml", text: hello}))
	f.Add(pack(packed{name: "hello/", kind: tar.TypeDir}, packed{name: "hello/Chart.yaml", text: hello}, packed{name: "hello/x", kind: tar.TypeSymlink, link: "y"}))
	f.Add(pack(packed{name: "g", kind: tar.TypeXGlobalHeader}, packed{name: `hello\Chart.yaml`, text: hello}))
	f.Add(archive(packed{name: "hello/Chart.yaml", text: hello}))
	f.Fuzz(func(t *testing.T, data []byte) {
		// As it is, and as what a package unpacks to.
		for _, data := range [][]byte{data, compress(data)} {
			m, err := readPackage(bytes.NewReader(data))
			if err != nil {
				if fault.As(err).Code != CodeInvalid || !m.isZero() {
					t.Fatalf("%+v, %v", m, err)
				}
				continue
			}
			if f, err := parseFile(packageFile(m.Name, m.Version)); err != nil || f.provenance {
				t.Fatalf("%q %q has no file name: %v", m.Name, m.Version, err)
			}
		}
	})
}

func (m metadata) isZero() bool { return m.Name == "" && m.Version == "" && m.APIVersion == "" }

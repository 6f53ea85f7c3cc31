package chart

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"
)

// Bounds on a package. Those on decompressed sizes are Helm's own: beyond them it
// loads no chart.
const (
	maxPackage = 100 << 20 // bytes as they are sent
	maxContent = 100 << 20 // bytes, decompressed
	maxFile    = 5 << 20   // bytes of one file in it
	maxFiles   = 10_000    // files and folders in it
)

// chartFile is the one file that is looked into, in the package's one folder.
const chartFile = "Chart.yaml"

// readPackage reads a package to its end and returns what its Chart.yaml says. It
// refuses what Helm refuses, and what only someone with bad intentions packs. Its
// memory does not grow with the package.
func readPackage(r io.Reader) (m metadata, err error) {
	source := &recorder{r: r}
	defer func() {
		if source.failed != nil { // not the package's fault
			m, err = metadata{}, source.failed
		}
	}()
	compressed := bufio.NewReaderSize(source, 64<<10)
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		return metadata{}, unreadable(err)
	}
	plain.Multistream(false)
	bounded := &boundedReader{plain, maxContent}
	text, err := findChart(tar.NewReader(bounded))
	if err != nil {
		return metadata{}, err
	}
	// What follows the end of the archive is nothing but padding.
	if err := onlyZeros(bounded); err != nil {
		return metadata{}, err
	}
	if _, err := compressed.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return metadata{}, unreadable(err)
		}
		return metadata{}, badPackage("something follows the end of the gzip stream")
	}
	return parseMetadata(text)
}

// findChart goes through an archive and returns its Chart.yaml.
func findChart(archive *tar.Reader) (text []byte, err error) {
	var folder string
	for n := 0; ; n++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unreadable(err)
		}
		if n == maxFiles {
			return nil, tooLarge("the package has more than %d files and folders", maxFiles)
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue // git archive writes one, which is about no file
		}
		top, rest, err := split(header.Name)
		if err != nil {
			return nil, err
		}
		if folder == "" {
			folder = top
		}
		if top != folder {
			return nil, badPackage("it has two folders at its top, %q and %q: pack one chart, with helm package", clip(folder), clip(top))
		}
		switch header.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
		case tar.TypeSymlink, tar.TypeLink:
			return nil, badPackage("%q is a link: helm package puts in what links lead to", clip(header.Name))
		default:
			return nil, badPackage("%q is neither a file nor a folder", clip(header.Name))
		}
		if rest == "" {
			return nil, badPackage("%q is not in a folder: pack the chart's folder, with helm package", clip(header.Name))
		}
		if header.Size > maxFile { // one with holes has more than there is of it
			return nil, tooLarge("%q has %d bytes: a file in a package may have %d", clip(header.Name), header.Size, maxFile)
		}
		if rest != chartFile {
			continue
		}
		if text != nil {
			return nil, badPackage("it has two files %s/%s", clip(folder), chartFile)
		}
		if header.Size > maxChartYAML {
			return nil, tooLarge("%s has %d bytes: up to %d are taken", chartFile, header.Size, maxChartYAML)
		}
		text = make([]byte, header.Size)
		if _, err := io.ReadFull(archive, text); err != nil {
			return nil, unreadable(err)
		}
	}
	if text == nil {
		return nil, badPackage("there is no %s in the folder at its top: pack the chart with helm package", chartFile)
	}
	return text, nil
}

// drive is how a path begins that is absolute on Windows.
var drive = regexp.MustCompile(`^[a-zA-Z]:`)

// split returns the folder at the top that an entry is in, and the path below it,
// empty for the folder itself. It refuses paths that lead out of the folder, by the
// rules of Helm, which also reads the backslashes of packers on Windows.
func split(name string) (top, rest string, err error) {
	if strings.Contains(name, `\`) && !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, `\`, "/")
	}
	if strings.ContainsAny(name, "\\\x00") {
		return "", "", badPackage("the path %q has both slashes and backslashes, or worse", clip(name))
	}
	bad := badPackage("the path %q leads out of its folder", clip(name))
	top, rest, _ = strings.Cut(name, "/")
	if top == "" || top == "." || top == ".." || drive.MatchString(top) {
		return "", "", bad
	}
	if rest == "" {
		return top, "", nil
	}
	if path.IsAbs(rest) {
		return "", "", bad
	}
	rest = path.Clean(rest)
	if rest == "." {
		return top, "", nil
	}
	if strings.HasPrefix(rest, "..") || drive.MatchString(rest) {
		return "", "", bad
	}
	return top, rest, nil
}

// onlyZeros reads to the end and refuses anything but zeros, with which archives
// are filled up.
func onlyZeros(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return badPackage("something follows the end of the archive")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable(err)
		}
	}
}

// boundedReader fails beyond a number of bytes.
type boundedReader struct {
	r    io.Reader
	left int64
}

var errTooMuch = errors.New("more than may be decompressed")

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooMuch
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more shows that there is more
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooMuch
	}
	return n, err
}

// recorder remembers with what reading failed, other than the end.
type recorder struct {
	r      io.Reader
	failed error
}

func (s *recorder) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	return n, err
}

// unreadable is what a failure to read a package is to whoever sent it.
func unreadable(err error) error {
	switch {
	case errors.Is(err, errTooMuch):
		return tooLarge("the package has more than %d bytes when it is decompressed", maxContent)
	case errors.Is(err, gzip.ErrHeader):
		return badPackage("it is not compressed with gzip: send what helm package makes")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badPackage("it ends too early")
	}
	return badPackage("%s", clip(err.Error()))
}

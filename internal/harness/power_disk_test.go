package harness_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// disk is a file system that knows of everything it was told what of it is bound
// to survive a power failure, by no more than POSIX promises:
//
//   - Bytes of a file and its length survive once a flush of that file returned
//     that began after their write did. Any of the others may, in any
//     combination, down to single sectors; sectors not written to stay whole.
//   - That a name is in a folder, or no more, or another's, survives once a flush
//     of the folder returned that began after the change. Else the name is what
//     it was at the last flush, or what it was any time since, whatever the
//     others are. So a rename may leave both names, and also neither.
//
// That the folder it begins with is there is taken for granted.
type disk struct {
	path string // of the folder that it is about
	top  *node
	open map[int64]*opened // by descriptor; those that closed since among them
	now  map[*harness.Call]*pending

	// ignores says which flushes do nothing: none, unless a test wants a bad disk.
	ignores func(path string, folder bool) bool
}

// node is a file or folder.
type node struct {
	path string // its first

	names map[string]*name // of a folder; nil for a file

	flushed  []byte // what of a file survives in any case
	unsynced []*edit
}

// name is an entry of a folder: the node at the last flush, then what came after
// it. A nil stands for no entry.
type name struct {
	flushed  *node
	unsynced []*node
	changes  int // of all time that are flushed
}

func (n *name) current() *node {
	if len(n.unsynced) > 0 {
		return n.unsynced[len(n.unsynced)-1]
	}
	return n.flushed
}

// edit is a write, or with no data a new length of the file.
type edit struct {
	at      int64
	data    []byte
	written bool // the call returned
}

// opened is what a descriptor stands for.
type opened struct {
	node *node
	at   int64 // where the next write goes
}

// pending is what a running call is going to do.
type pending struct {
	file  *opened
	edit  *edit
	edits []*edit       // that a flush of a file covers
	names map[*name]int // how many changes of a name, of all time, a flush of a folder covers
}

func newDisk(path string) *disk {
	return &disk{
		path: path, top: &node{path: path, names: map[string]*name{}},
		open: map[int64]*opened{}, now: map[*harness.Call]*pending{},
	}
}

// within reports whether a path is in the folder.
func (d *disk) within(path string) bool {
	return path == d.path || strings.HasPrefix(path, d.path+"/")
}

// volatile reports whether a path is of SQLite's index of the write-ahead log,
// which is shared memory and made anew by the first who opens the database.
func volatile(path string) bool { return strings.HasSuffix(path, "-shm") }

// apply does what a step does. A write counts from the moment it begins, since
// any of it may be on the disk from then on; the rest when it returns.
func (d *disk) apply(s harness.Step) error {
	if s.Call == nil { // the process ended; what it wrote is still in memory
		if len(d.now) > 0 {
			return fmt.Errorf("%d calls did not return before the process ended", len(d.now))
		}
		d.open = map[int64]*opened{}
		return nil
	}
	ours := func(o harness.Operand) bool { return d.within(o.Path) || d.within(o.Text) }
	if !slices.ContainsFunc(s.Operands, ours) {
		return nil
	}
	if slices.ContainsFunc(s.Operands, func(o harness.Operand) bool { return volatile(o.Path) || volatile(o.Text) }) {
		return nil
	}
	var err error
	if !s.Returned {
		err = d.begin(s.Call)
	} else {
		err = d.end(s.Call)
	}
	if err != nil {
		return fmt.Errorf("%s(%.300q) = %d: %w", s.Name, s.Operands, s.Result, err)
	}
	return nil
}

// join returns the path that an operand continues or begins.
func join(dir string, o harness.Operand) string {
	switch {
	case o.Path != "":
		return o.Path
	case filepath.IsAbs(o.Text):
		return filepath.Clean(o.Text)
	}
	return filepath.Join(dir, o.Text)
}

// paths returns the names that a call is about.
func paths(c *harness.Call) []string {
	o := c.Operands
	switch c.Name {
	case "open", "unlink", "mkdir":
		return []string{join("", o[0])}
	case "openat", "unlinkat", "mkdirat":
		return []string{join(o[0].Path, o[1])}
	case "rename":
		return []string{join("", o[0]), join("", o[1])}
	case "renameat":
		return []string{join(o[0].Path, o[1]), join(o[2].Path, o[3])}
	}
	return nil
}

func (d *disk) begin(c *harness.Call) error {
	switch c.Name {
	case "write", "pwrite64", "ftruncate", "fsync", "fdatasync":
	case "open", "openat", "lseek", "renameat", "rename", "unlink", "unlinkat", "mkdirat", "mkdir":
		d.now[c] = nil // it counts when it returns
		return nil
	case "mmap":
		if text := c.Operands[3].Text; strings.Contains(text, "MAP_SHARED") && strings.Contains(c.Operands[2].Text, "PROT_WRITE") {
			return errors.New("shared memory: what is written there is in no trace")
		}
		return nil
	default:
		return errors.New("this model knows no such call: teach it")
	}
	file := d.open[c.Operands[0].Number()]
	if file == nil {
		return errors.New("on a file that nobody opened")
	}
	p := &pending{file: file}
	d.now[c] = p
	switch c.Name {
	case "write":
		p.edit = &edit{at: file.at, data: []byte(c.Operands[1].Text)}
	case "pwrite64":
		p.edit = &edit{at: c.Operands[3].Number(), data: []byte(c.Operands[1].Text)}
	case "ftruncate":
		p.edit = &edit{at: c.Operands[1].Number()}
	case "fsync", "fdatasync":
		if file.node.names != nil {
			p.names = map[*name]int{}
			for _, n := range file.node.names {
				p.names[n] = n.changes + len(n.unsynced)
			}
			return nil
		}
		for _, e := range file.node.unsynced {
			if e.written {
				p.edits = append(p.edits, e)
			}
		}
		return nil
	}
	file.node.unsynced = append(file.node.unsynced, p.edit)
	return nil
}

func (d *disk) end(c *harness.Call) error {
	p := d.now[c]
	delete(d.now, c)
	switch c.Name {
	case "open", "openat":
		return d.opened(c)
	case "lseek":
		if file := d.open[c.Operands[0].Number()]; file != nil && c.Result >= 0 {
			file.at = c.Result
		}
		return nil
	}
	if c.Result < 0 {
		if p != nil {
			return errors.New("a write or a flush failed: this model does not know what that leaves")
		}
		return nil
	}
	switch c.Name {
	case "write":
		p.file.at += c.Result
		fallthrough
	case "pwrite64":
		p.edit.data = p.edit.data[:c.Result]
		p.edit.written = true
	case "ftruncate":
		p.edit.written = true
	case "fsync", "fdatasync":
		d.flush(p)
	case "rename", "renameat":
		names := paths(c)
		n, err := d.find(names[0])
		if err == nil && n == nil {
			err = errors.New("renamed a file that was never made")
		}
		if err != nil {
			return err
		}
		return errors.Join(d.set(names[1], n), d.set(names[0], nil))
	case "unlink", "unlinkat":
		return d.set(paths(c)[0], nil)
	case "mkdir", "mkdirat":
		path := paths(c)[0]
		return d.set(path, &node{path: path, names: map[string]*name{}})
	}
	return nil
}

// opened notes what a descriptor stands for from now on, and makes the file if
// the call did.
func (d *disk) opened(c *harness.Call) error {
	if c.Result < 0 {
		return nil
	}
	path, flags := paths(c)[0], c.Operands[1].Text
	if c.Name == "openat" {
		flags = c.Operands[2].Text
	}
	if strings.Contains(flags, "O_APPEND") {
		return errors.New("this model knows no appending: teach it")
	}
	if path == d.path {
		d.open[c.Result] = &opened{node: d.top}
		return nil
	}
	n, err := d.find(path)
	if err != nil {
		return err
	}
	if n == nil {
		if !strings.Contains(flags, "O_CREAT") {
			return errors.New("opened a file that was never made")
		}
		n = &node{path: path}
		if err := d.set(path, n); err != nil {
			return err
		}
	}
	if strings.Contains(flags, "O_TRUNC") {
		n.unsynced = append(n.unsynced, &edit{written: true})
	}
	d.open[c.Result] = &opened{node: n}
	return nil
}

// flush does what a flush that returned did.
func (d *disk) flush(p *pending) {
	n := p.file.node
	if d.ignores != nil && d.ignores(n.path, n.names != nil) {
		return
	}
	for entry, covered := range p.names {
		if more := covered - entry.changes; more > 0 { // no later flush was faster
			entry.flushed = entry.unsynced[more-1]
			entry.unsynced = slices.Clone(entry.unsynced[more:])
			entry.changes = covered
		}
	}
	for _, e := range p.edits {
		if i := slices.Index(n.unsynced, e); i >= 0 {
			n.flushed = e.apply(n.flushed)
			n.unsynced = slices.Delete(n.unsynced, i, i+1)
		}
	}
}

// apply returns content with the change.
func (e *edit) apply(content []byte) []byte {
	end := e.at + int64(len(e.data))
	if e.data == nil && end < int64(len(content)) {
		return content[:end]
	}
	if more := end - int64(len(content)); more > 0 {
		content = append(content, make([]byte, more)...)
	}
	copy(content[e.at:], e.data)
	return content
}

// entry returns the name that a path ends in, making it if need be.
func (d *disk) entry(path string) (*name, error) {
	folder := d.top
	rel, _ := strings.CutPrefix(path, d.path+"/")
	dir, base := filepath.Split(rel)
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if part == "" {
			continue
		}
		n := folder.names[part]
		if n == nil || n.current() == nil || n.current().names == nil {
			return nil, fmt.Errorf("%s is no folder", part)
		}
		folder = n.current()
	}
	n := folder.names[base]
	if n == nil {
		n = &name{}
		folder.names[base] = n
	}
	return n, nil
}

func (d *disk) find(path string) (*node, error) {
	n, err := d.entry(path)
	if err != nil {
		return nil, err
	}
	return n.current(), nil
}

func (d *disk) set(path string, to *node) error {
	n, err := d.entry(path)
	if err != nil {
		return err
	}
	n.unsynced = append(n.unsynced, to)
	return nil
}

// A loss says what of the changes that no flush covers a power failure leaves.
type loss struct {
	kind lossKind
	rnd  *rand.Rand

	chance  float64 // of each change or sector to survive
	stretch bool    // lengths survive without the bytes, which read as zeros
}

type lossKind string

const (
	loseNothing      lossKind = "nothing" // as after kill -9
	loseAll          lossKind = "all"
	loseAllButNewest lossKind = "all but the newest write"
	loseFiles        lossKind = "all of some files"
	loseWrites       lossKind = "some writes"
	loseSectors      lossKind = "some sectors of some writes"
)

var losses = []lossKind{loseNothing, loseAll, loseAllButNewest, loseFiles, loseWrites, loseSectors}

// leave writes to an empty folder what a power failure now would leave.
func (d *disk) leave(dir string, kind lossKind, rnd *rand.Rand) error {
	l := &loss{kind: kind, rnd: rnd, chance: []float64{0.1, 0.5, 0.9}[rnd.IntN(3)], stretch: rnd.IntN(2) == 0}
	return l.folder(d.top, dir)
}

// folder writes the contents of a folder. It goes by name, so that the same seed
// leaves the same.
func (l *loss) folder(n *node, dir string) error {
	for _, base := range slices.Sorted(maps.Keys(n.names)) {
		child := l.choose(n.names[base])
		path := filepath.Join(dir, base)
		switch {
		case child == nil:
		case child.names != nil:
			if err := errors.Join(os.Mkdir(path, 0o700), l.folder(child, path)); err != nil {
				return err
			}
		default:
			if err := os.WriteFile(path, l.content(child), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// choose returns what a name stands for.
func (l *loss) choose(n *name) *node {
	switch all := append([]*node{n.flushed}, n.unsynced...); l.kind {
	case loseNothing:
		return n.current()
	case loseAll:
		return n.flushed
	default:
		return all[l.rnd.IntN(len(all))]
	}
}

// content returns the bytes of a file.
func (l *loss) content(n *node) []byte {
	content := slices.Clone(n.flushed)
	some := l.rnd.Float64() < l.chance
	for i, e := range n.unsynced {
		var survives bool
		switch l.kind {
		case loseNothing:
			survives = true
		case loseAllButNewest:
			survives = i == len(n.unsynced)-1
		case loseFiles:
			survives = some
		case loseWrites:
			survives = l.rnd.Float64() < l.chance
		case loseSectors:
			if e.data != nil {
				content = l.tear(content, e)
				continue
			}
			survives = l.rnd.Float64() < l.chance
		}
		switch end := e.at + int64(len(e.data)); {
		case survives:
			content = e.apply(content)
		case l.stretch && l.kind != loseAll && e.data != nil && end > int64(len(content)):
			content = (&edit{at: end}).apply(content)
		}
	}
	return content
}

// sector is what a disk writes whole, in bytes.
const sector = 512

// tear applies some sectors of a write.
func (l *loss) tear(content []byte, e *edit) []byte {
	for at, rest := e.at, e.data; len(rest) > 0; {
		n := min(sector-int(at%sector), len(rest))
		if l.rnd.Float64() < l.chance {
			content = (&edit{at: at, data: rest[:n]}).apply(content)
		} else if l.stretch && at+int64(n) > int64(len(content)) {
			content = (&edit{at: at + int64(n)}).apply(content)
		}
		at, rest = at+int64(n), rest[n:]
	}
	return content
}

// compare checks that the folder is what the disk makes of all it was told: then
// the trace lacks nothing.
func (d *disk) compare(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := d.leave(dir, loseNothing, rand.New(rand.NewPCG(0, 0))); err != nil {
		t.Fatal(err)
	}
	want, got := contents(t, d.path), contents(t, dir)
	maps.DeleteFunc(want, func(path string, _ []byte) bool { return volatile(path) })
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if is, ok := got[path]; !ok || !bytes.Equal(is, want[path]) {
			t.Errorf("%s: by the trace %d bytes (there: %v), in truth %d others", path, len(is), ok, len(want[path]))
		}
		delete(got, path)
	}
	for path := range got {
		t.Errorf("%s: by the trace it is there, in truth not", path)
	}
	if t.Failed() {
		t.Fatal("the trace does not tell all that the server wrote")
	}
}

// contents returns all files of a folder.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		all[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

package harness

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// traced are the system calls that can change a folder, or move the place in a
// file where the next write goes. mmap is among them because shared memory would
// be a way to write that no call shows.
const traced = "open,openat,openat2,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate," +
	"fsync,fdatasync,sync_file_range,sync,syncfs,msync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat," +
	"link,linkat,symlink,symlinkat,copy_file_range,sendfile,splice,mmap"

// longestWrite bounds what strace records of one buffer, in bytes. ReadTrace
// refuses a trace that it cut off.
const longestWrite = 4 << 20

// StartTraced is Start under strace, which writes to the file trace. When the
// server has ended, the trace is complete.
func StartTraced(t testing.TB, data, trace string, flags ...string) *Server {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		needs(t, "NO STRACE: nothing shows what a power failure would leave. Install it (Debian: apt-get install strace)")
	}
	// With -D the server stays our child: signals reach it, not strace.
	command := []string{strace, "-D", "-f", "-q", "-y", "-xx", "-s", strconv.Itoa(longestWrite), "--seccomp-bpf", "-e", "trace=" + traced, "-o"}
	if out, err := exec.Command(command[0], append(command[1:], os.DevNull, "true")...).CombinedOutput(); err != nil {
		needs(t, fmt.Sprintf("NO TRACING: this machine does not let strace work: %v\n%s", err, out))
	}
	command = append(command, trace, Binary(t))
	return start(t, append(command, serve(data, flags)...))
}

// Freeze stops a server that StartTraced started, and returns when all its
// threads rest and strace has recorded everything they did. Then only Kill helps.
func (s *Server) Freeze() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGSTOP)
	process := fmt.Sprintf("/proc/%d", s.cmd.Process.Pid)
	deadline := time.Now().Add(time.Minute)
	// Once all threads rest, only strace can wake one: if it rests as well, it
	// has nothing left to do. Looking twice covers the moment before it is woken.
	for rested := 0; rested < 2; time.Sleep(10 * time.Millisecond) {
		rested++
		threads, _ := filepath.Glob(process + "/task/*/status")
		for _, thread := range threads {
			if field(thread, "State") != "t (tracing stop)" {
				rested = 0
			}
		}
		tracer := field(process+"/status", "TracerPid")
		if field("/proc/"+tracer+"/status", "State") != "S (sleeping)" {
			rested = 0
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the server does not freeze")
		}
	}
}

// field returns a field of a status file of Linux (proc_pid_status(5)), empty if
// the process is gone.
func field(file, name string) string {
	text, _ := os.ReadFile(file)
	_, rest, _ := strings.Cut(string(text), name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// needs ends a test whose real part is missing.
func needs(t testing.TB, message string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// Call is a system call of a traced server.
type Call struct {
	Name     string
	Operands []Operand
	Result   int64 // only of a call that returned; negative if it failed
}

// Operand is an operand of a system call.
type Operand struct {
	Text string // bytes of a string; a descriptor's number; else what strace shows
	Path string // what a descriptor stands for
}

// Number returns the operand as a number, -1 if it is none.
func (o Operand) Number() int64 {
	n, err := strconv.ParseInt(o.Text, 0, 64)
	if err != nil {
		return -1
	}
	return n
}

// Step is the moment in which a call begins or returns. strace holds the thread
// at both, so steps stand in the order in which they happened: what a call did
// was done after the step that began it and before the one in which it returned.
type Step struct {
	*Call
	Returned bool
}

// ReadTrace returns the steps that a trace records, in order. A call that the
// end of the process cut off never returns.
func ReadTrace(trace string) ([]Step, error) {
	f, err := os.Open(trace)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := traceReader{running: map[string]*Call{}}
	lines := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return r.steps, nil
		}
		if err == nil {
			thread, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			err = r.line(thread, strings.TrimLeft(text, " "))
		}
		if err != nil {
			return nil, fmt.Errorf("trace %s, line %d: %w: %.200s", trace, n, err, line)
		}
	}
}

type traceReader struct {
	steps   []Step
	running map[string]*Call // by thread: calls during which other threads made some
}

const unfinished = "<unfinished ...>"

// line reads what a line tells:
//
//	name(operands) = result
//	name(operands <unfinished ...>
//	<... name resumed>operands) = result
//	--- a signal ---
//	+++ the end +++
func (r *traceReader) line(thread, text string) error {
	if strings.HasPrefix(text, "---") || strings.HasPrefix(text, "+++") {
		return nil
	}
	if strings.HasPrefix(text, "<... ") {
		call := r.running[thread]
		_, text, _ = strings.Cut(text, " resumed>")
		if call == nil {
			return errors.New("goes on with a call that did not begin")
		}
		delete(r.running, thread)
		_, text, err := readOperands(text)
		if err != nil {
			return err
		}
		return r.returned(call, text)
	}
	name, text, _ := strings.Cut(text, "(")
	operands, text, err := readOperands(text)
	if err != nil {
		return err
	}
	call := &Call{Name: name, Operands: operands}
	r.steps = append(r.steps, Step{Call: call})
	if text == unfinished {
		r.running[thread] = call
		return nil
	}
	return r.returned(call, text)
}

// returned reads the result of a call, for example "= -1 ENOENT (No such file)".
func (r *traceReader) returned(call *Call, text string) error {
	_, text, _ = strings.Cut(text, "= ")
	if strings.HasPrefix(text, "?") { // the process ended meanwhile
		return nil
	}
	digits := len(text) - len(strings.TrimLeft(text, "-x0123456789abcdef"))
	var err error
	if call.Result, err = strconv.ParseInt(text[:digits], 0, 64); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	r.steps = append(r.steps, Step{call, true})
	return nil
}

// readOperands returns the operands of a call and what is behind the parenthesis
// that ends them, or the mark of a call that has not returned.
func readOperands(text string) (all []Operand, rest string, err error) {
	for {
		text = strings.TrimLeft(text, ", ")
		switch {
		case strings.HasPrefix(text, ")"):
			return all, text[1:], nil
		case strings.HasPrefix(text, unfinished):
			return all, unfinished, nil
		}
		var o Operand
		if o, text, err = readOperand(text); err != nil {
			return nil, "", err
		}
		all = append(all, o)
	}
}

// readOperand reads a string in quotes, a descriptor with its path, or anything
// else up to what separates operands. All of a structure is one operand.
func readOperand(text string) (o Operand, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		content, rest, ok := strings.Cut(text[1:], `"`)
		if !ok || strings.HasPrefix(rest, "...") {
			return o, "", errors.New("a string was cut off")
		}
		o.Text, err = unescape(content)
		return o, rest, err
	}
	depth, end := 0, 0
	for ; end < len(text); end++ {
		if depth == 0 && strings.IndexByte(",) <", text[end]) >= 0 {
			break
		}
		switch text[end] {
		case '[', '{', '(':
			depth++
		case ']', '}', ')':
			depth--
		}
	}
	if end == len(text) {
		return o, "", errors.New("the operands do not end")
	}
	o.Text, rest = strings.Clone(text[:end]), text[end:] // the line is long, and not kept
	if strings.HasPrefix(rest, "<") && rest != unfinished {
		path, behind, ok := strings.Cut(rest[1:], ">")
		if !ok {
			return o, "", errors.New("a path was cut off")
		}
		o.Path, err = unescape(path)
		rest = strings.TrimPrefix(behind, "(deleted)")
	}
	return o, rest, err
}

// unescape returns the bytes that strace shows as \x2f.
func unescape(text string) (string, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	return string(raw), err
}

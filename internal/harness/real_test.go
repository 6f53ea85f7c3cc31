package harness_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests of this package whose names begin with TestReal drive heavy programs
// of other people, and run only by make test-real.

var update = flag.Bool("update", false, "write the outputs in testdata/real anew")

// forReal ends a test that make test-real has not asked for, and one whose programs
// are not there.
func forReal(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("DOCKBELL_TEST_REAL") == "" {
		t.Skipf("NOT ASKED FOR: this drives the real %s; make test-real runs it", strings.Join(programs, ", "))
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, fmt.Sprintf("MISSING: %s: this test proves nothing without it; make test-real says how to install it", program))
		}
	}
}

// missing ends a test whose real part is not there.
func missing(t *testing.T, message string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// session is a shell session as one reads it in documentation: text, in which
// lines that begin with "$ " are commands (with "> ", they go on), and what
// follows one is what it prints to both outputs; then "[exit N]", if N is not 0.
// A line that begins with "#" is a remark.
type session []entry

type entry struct {
	remark  string // lines before the command, as they are
	command string
	output  string
}

func parseSession(text string) (s session) {
	var e entry
	flush := func() {
		if e.command != "" {
			s = append(s, e)
			e = entry{}
		}
	}
	for line := range strings.Lines(text) {
		command, starts := strings.CutPrefix(line, "$ ")
		more, goesOn := strings.CutPrefix(line, "> ")
		switch {
		case starts:
			if e.command != "" {
				flush()
			}
			e.command = command
		case goesOn && e.command != "" && e.output == "":
			e.command += more
		case strings.HasPrefix(line, "#"):
			e.output = strings.TrimSuffix(e.output, "\n") // the empty line before a remark
			flush()
			e.remark += line
		default:
			e.output += line
		}
	}
	flush()
	return s
}

func (s session) String() string {
	var text strings.Builder
	for i, e := range s {
		if e.remark != "" {
			if i > 0 {
				text.WriteString("\n")
			}
			text.WriteString(e.remark)
		}
		text.WriteString("$ " + strings.ReplaceAll(strings.TrimSuffix(e.command, "\n"), "\n", "\n> ") + "\n" + e.output)
	}
	return text.String()
}

// commandEnded goes before the exit code of a command, on a line of its own.
const commandEnded = "\x01"

// run runs the commands in one shell, in dir, and returns the session with what
// they print now.
func (s session) run(t *testing.T, dir string, env []string) session {
	t.Helper()
	var script strings.Builder
	for _, e := range s {
		fmt.Fprintf(&script, "%sprintf '\\n%s%%s\\n' $?\n", e.command, commandEnded)
	}
	rest := shell(t, dir, env, script.String())
	got := slices.Clone(s)
	for i := range got {
		output, after, ended := strings.Cut(rest, "\n"+commandEnded)
		code, next, _ := strings.Cut(after, "\n")
		if !ended {
			t.Fatalf("the session ended in the midst of %s%s", got[i].command, rest)
		}
		rest = next
		if output != "" && !strings.HasSuffix(output, "\n") {
			output += "\n"
		}
		if code != "0" {
			output += "[exit " + code + "]\n"
		}
		got[i].output = output
	}
	return got
}

// shell runs a script in dir and returns what it prints to both outputs. What it
// starts ends with it.
func shell(t *testing.T, dir string, env []string, script string) string {
	t.Helper()
	file := filepath.Join(dir, ".script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", file)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second // for what was left running, and would keep the outputs open
	err := cmd.Run()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if err != nil {
		t.Fatalf("the script did not come to its end: %v\n%s", err, &out)
	}
	return out.String()
}

// mask is what changes from run to run, and what stands for it: of the same
// width where a table shows it.
type mask struct {
	pattern *regexp.Regexp
	text    string
}

// masks replaces what changes from run to run in every session.
var masks = []mask{
	{regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`), "TOKEN"},
	{regexp.MustCompile(`\b[a-z2-7]{32}\b`), "passwordpasswordpasswordpassword"},
	{regexp.MustCompile(`\b[a-z2-7]{40}\b`), "passwordpasswordpasswordpasswordpassword"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`), "2026-11-21T10:00:00"},
	{regexp.MustCompile(`(2026-11-21T10:00:00)\.\d+`), "$1.0"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?`), "2026-11-21 10:00:00"},
	{regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`), "Sat, 21 Nov 2026 10:00:00 GMT"},
	{regexp.MustCompile(`("Content-Length": )"\d+"`), `$1"300"`},
	{regexp.MustCompile(`("Webhook-Timestamp": )"\d+"`), `$1"1795255200"`},
	{regexp.MustCompile(`("durationMs": )[\d.]+`), `${1}1.5`},
	{regexp.MustCompile(`("Dockbell-Hops": )"\w+"`), `$1"HOPS"`},
	{regexp.MustCompile(`whsec_[\w+/=]+`), "whsec_SECRET"},
	{regexp.MustCompile(`\b(Dockbell|skopeo|AZURECLI|Python)/[\w.+-]+`), "$1/1.0"},
}

var guid = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)

// masked returns s with what changes replaced; the same GUID by the same. known
// are texts and what stands for them.
func (s session) masked(known ...string) session {
	literal := strings.NewReplacer(known...)
	numbers := map[string]int{}
	got := slices.Clone(s)
	for i := range got {
		text := literal.Replace(got[i].output)
		for _, m := range masks {
			text = m.pattern.ReplaceAllString(text, m.text)
		}
		got[i].output = guid.ReplaceAllStringFunc(text, func(id string) string {
			if strings.HasPrefix(id, "00000000-") {
				return id
			}
			if numbers[id] == 0 {
				numbers[id] = len(numbers) + 1
			}
			return fmt.Sprintf("11111111-0000-0000-0000-%012d", numbers[id])
		})
	}
	return got
}

// compare compares what a session printed with what its file says, or writes
// the file.
func (s session) compare(t *testing.T, file string, want session) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(s.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, e := range s {
		if diff := cmp.Diff(want[i].output, e.output); diff != "" {
			t.Errorf("%s: $ %s(-want +got)\n%s", file, e.command, diff)
		}
	}
}

func TestSessionFormat(t *testing.T) {
	t.Parallel()
	text := "# What it is about.\n$ echo a; echo b >&2\na\nb\n$ for n in 1 2; do\n>   echo $n\n> done\n1\n2\n\n# And it fails.\n$ (exit 3)\n[exit 3]\n$ printf x\nx\n"
	parsed := parseSession(text)
	if len(parsed) != 4 {
		t.Fatalf("%d commands in %q", len(parsed), parsed)
	}
	parsed[0].output, parsed[2].output = "", "stale\n"
	if diff := cmp.Diff(text, parsed.run(t, t.TempDir(), os.Environ()).String()); diff != "" {
		t.Error(diff)
	}
	s := session{{output: "a /tmp/x 6f9b1c2e-3333-4444-8555-0123456789ab at 2027-03-04T05:06:07.123456Z by 6f9b1c2e-3333-4444-8555-0123456789ab"}}
	want := "a HOME 11111111-0000-0000-0000-000000000001 at 2026-11-21T10:00:00.0Z by 11111111-0000-0000-0000-000000000001"
	if got := s.masked("/tmp/x", "HOME")[0].output; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

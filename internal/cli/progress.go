package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// progress shows on standard error how far long work is: a bar on a terminal,
// elsewhere a line now and then.
type progress struct {
	env   Env
	shown time.Time // when the last line was printed; zero: none yet
	text  string    // of the last
}

// linesApart is how often a line is printed where there is no terminal.
const linesApart = 10 * time.Second

// show prints how far the work is: a fraction from 0 to 1 and a text without a
// line end. The first and the last one of a work are always printed.
func (p *progress) show(fraction float64, text string) {
	const width = 20
	if p.env.StderrTerminal {
		fraction = min(max(fraction, 0), 1)
		full := int(fraction * width)
		fmt.Fprintf(p.env.Stderr, "\r[%s%s] %3d %%  %s\x1b[K", strings.Repeat("#", full), strings.Repeat(".", width-full), int(fraction*100), plain(text))
		p.shown = time.Now()
		return
	}
	p.text = text
	if time.Since(p.shown) >= linesApart {
		p.flush()
	}
}

// flush prints the newest text, unless that was done.
func (p *progress) flush() {
	if p.text != "" {
		fmt.Fprintln(p.env.Stderr, plain(p.text))
		p.text, p.shown = "", time.Now()
	}
}

// end prints what was not shown yet and leaves the line.
func (p *progress) end() {
	switch {
	case !p.env.StderrTerminal:
		p.flush()
	case !p.shown.IsZero():
		fmt.Fprintln(p.env.Stderr)
	}
}

const (
	// firstPoll is when work that was started is looked at first. Each pause after it
	// is half as long again, up to lastPoll: short work ends at once.
	firstPoll = 50 * time.Millisecond
	lastPoll  = time.Second

	// patience is how long a server may be away while its work is followed: the work
	// outlives a restart, or it is on record that it did not.
	patience = time.Minute
)

// following is how work of a server is followed that goes on by itself.
type following[T any] struct {
	env       Env
	runs      func(T) bool
	tell      func(T) (fraction float64, text string) // how far it is
	ask       func(context.Context) (T, error)
	leftAlone string // what to say to whoever interrupts the command
}

// follow waits for the end of the work and shows on standard error how far it is.
func (f following[T]) follow(ctx context.Context, work T) (T, error) {
	bar := progress{env: f.env}
	defer bar.end()
	answered := time.Now()
	for pause := firstPoll; f.runs(work); pause = min(pause*3/2, lastPoll) {
		bar.show(f.tell(work))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		now, err := f.ask(ctx)
		switch {
		case err == nil:
			work, answered = now, time.Now()
		case ctx.Err() != nil:
			return work, fault.Wrap(err, fault.Unavailable, "%s", f.leftAlone)
		case !fault.Is(err, fault.Unavailable) || time.Since(answered) > patience:
			return work, err
		}
	}
	bar.show(f.tell(work))
	return work, nil
}

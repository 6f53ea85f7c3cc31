package cli

import (
	"fmt"
	"strings"
	"time"
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

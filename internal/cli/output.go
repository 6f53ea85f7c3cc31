package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jmespath/go-jmespath"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// output is how the commands of a group print.
type output struct {
	env    Env
	format choiceValue
	query  string
}

func (o *output) flags(flags *pflag.FlagSet) {
	o.format.allowed = []string{"json", "none", "table", "tsv", wide, "yaml"}
	flags.VarP(&o.format, "output", "o", "table on a terminal and json elsewhere, unless given; wide is a table with whole times")
	flags.StringVar(&o.query, "query", "", "print only what this `JMESPath` finds in the JSON")
	Group(flags, "Output")
}

// wide is the format of a table whose times are moments in full, not ages.
const wide = "wide"

// table is a result as rows and columns.
type table struct {
	header []string
	rows   [][]string

	// empty is printed in place of a table without rows: a line that names the
	// command that would fill it.
	empty string
}

// drawsTable reports whether print will write its table.
func (o *output) drawsTable() bool {
	format := o.inForce()
	return o.query == "" && (format == "table" || format == wide)
}

// inForce returns the format that was chosen, or that is so without a choice.
func (o *output) inForce() string {
	if o.format.value == "" && o.env.StdoutTerminal {
		return "table"
	}
	return cmp.Or(o.format.value, "json")
}

// print writes value, which is made of what encoding/json decodes to, in the
// chosen format. As a table it is t, or made from the value if that was queried.
// A value of nil prints nothing.
func (o *output) print(value any, t table) error {
	return o.printOr(value, func() error { return o.writeTable(t) })
}

// printOr is print for what as a table is more than one: draw writes them.
func (o *output) printOr(value any, draw func() error) error {
	queried := o.query != ""
	if queried {
		expression, err := jmespath.Compile(o.query)
		if err != nil {
			return Usage("--query: %s is not a JMESPath expression: %s", o.query, err)
		}
		if value, err = expression.Search(value); err != nil {
			return Usage("--query: %s", err)
		}
	}
	if value == nil {
		return nil
	}
	switch o.inForce() {
	case "none":
		return nil
	case "yaml":
		return writeYAML(o.env.Stdout, value)
	case "tsv":
		return writeTSV(o.env.Stdout, value)
	case "table", wide:
		if queried {
			return o.writeTable(autoTable(value))
		}
		return draw()
	default:
		return writeJSON(o.env.Stdout, value)
	}
}

// writeJSON prints as az does: two blanks of indent, sorted members, no escapes
// that JSON does not need.
func writeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

func writeYAML(w io.Writer, value any) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	return errors.Join(enc.Encode(integers(value)), enc.Close())
}

// integers returns value with whole numbers as integers: YAML would write large
// ones with an exponent.
func integers(value any) any {
	switch v := value.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = integers(v[k])
		}
	}
	return value
}

// writeTSV prints one line per element, the members of an object by their sorted
// names. As with az, a list within a line is its length and an object nothing.
func writeTSV(w io.Writer, value any) error {
	rows, ok := value.([]any)
	if !ok {
		rows = []any{value}
	}
	for _, row := range rows {
		var cells []string
		switch v := row.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				cells = append(cells, tsvCell(v[k]))
			}
		case []any:
			for _, e := range v {
				cells = append(cells, tsvCell(e))
			}
		case bool:
			cells = []string{strconv.FormatBool(v)}
		default:
			cells = []string{tsvCell(v)}
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return nil
}

// tsvCell prints null, true and false as az does, in Python's words: scripts
// compare with them.
func tsvCell(value any) string {
	switch v := value.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case []any:
		return strconv.Itoa(len(v))
	case map[string]any:
		return ""
	default:
		return scalar(v)
	}
}

// scalar prints a string, number, bool or null.
func scalar(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// autoTable makes a table of what a query found: an object or a list of them has
// a column for each member that is a plain value, other lists have numbered
// ones.
func autoTable(value any) table {
	rows, ok := value.([]any)
	if !ok {
		rows = []any{value}
	}
	var t table
	column := map[string]int{}
	for _, row := range rows {
		cells := make([]string, len(t.header))
		put := func(name string, value any) {
			switch value.(type) {
			case map[string]any, []any:
				return
			}
			name = strings.ToUpper(name)
			i, ok := column[name]
			if !ok {
				i = len(t.header)
				column[name] = i
				t.header = append(t.header, name)
			}
			for len(cells) <= i {
				cells = append(cells, "")
			}
			cells[i] = scalar(value)
		}
		switch v := row.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				put(k, v[k])
			}
		case []any:
			for i, e := range v {
				put("Column"+strconv.Itoa(i+1), e)
			}
		default:
			put("Result", v)
		}
		t.rows = append(t.rows, cells)
	}
	return t
}

// writeTable prints columns two blanks apart, without borders.
func (o *output) writeTable(t table) error {
	if len(t.rows) == 0 {
		if t.empty != "" {
			fmt.Fprintln(o.env.Stderr, t.empty)
		}
		return nil
	}
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(plain(cell)))
		}
	}
	var b strings.Builder
	for n, row := range append([][]string{t.header}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			cell = plain(cell)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
			if n > 0 {
				cell = o.coloured(t.header[i], cell)
			}
			line.WriteString(cell + pad)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(o.env.Stdout, b.String())
	return err
}

// plain keeps what others wrote from steering the terminal.
func plain(cell string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, cell)
}

// The colours of states. None says anything that its word does not say too.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	grey   = "\x1b[90m"
	reset  = "\x1b[0m"
)

func (o *output) coloured(column, cell string) string {
	if !o.env.StdoutTerminal || o.env.Getenv("NO_COLOR") != "" {
		return cell
	}
	colour := ""
	switch column {
	case "STATUS":
		switch cell {
		case "enabled", "ok", "done":
			colour = green
		case "catching up", "paused", "running":
			colour = yellow
		case "failing", "no consent":
			colour = red
		case "disabled", "cancelled":
			colour = grey
		}
	case "STATE":
		switch cell {
		case "ok":
			colour = green
		case "catching up", "paused", controlclient.SubscriptionAwaiting:
			colour = yellow
		case "failing", controlclient.SubscriptionFailed:
			colour = red
		}
	case "OUTCOME":
		switch cell {
		case "delivered":
			colour = green
		case "interrupted":
			colour = yellow
		case "failed":
			colour = red
		case "refused":
			colour = grey
		}
	case "HTTP STATUS", "LAST":
		switch {
		case strings.HasPrefix(cell, "2"):
			colour = green
		case cell == "Interrupted":
			colour = yellow
		case cell != "":
			colour = red
		}
	}
	if colour == "" {
		return cell
	}
	return colour + cell + reset
}

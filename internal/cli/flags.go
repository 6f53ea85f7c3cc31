package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// listValue is a flag that takes several values: --actions push delete. Each
// occurrence of the flag is one element.
type listValue [][]string

// separator joins the values of one occurrence on their way through the flag
// parser. No argument of a process can hold it.
const separator = "\x00"

// Set adds an occurrence; gather has joined its values.
func (l *listValue) Set(s string) error {
	*l = append(*l, strings.Split(s, separator))
	return nil
}

// String returns nothing, which is the default that help shows.
func (l *listValue) String() string { return "" }

// Type returns the word for the value in help.
func (l *listValue) Type() string { return "list" }

// values returns the values of all occurrences.
func (l listValue) values() []string { return slices.Concat(l...) }

// words splits the values at commas and blanks, for flags whose values hold
// neither.
func (l listValue) words() []string {
	return strings.FieldsFunc(strings.Join(l.values(), " "), func(r rune) bool { return r == ',' || r == ' ' })
}

// pairs reads key[=value] elements. Later ones win; an empty element counts for
// nothing, so that "" alone makes an empty map.
func (l listValue) pairs(flag string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range l.values() {
		if v == "" {
			continue
		}
		key, value, _ := strings.Cut(v, "=")
		if key == "" {
			return nil, Usage("%q of --%s has no name before the '=': write name=value", v, flag)
		}
		m[key] = value
	}
	return m, nil
}

// gather joins the arguments that follow a list flag of cmd into one, up to the
// next flag, as az takes them.
func gather(cmd *cobra.Command, args []string) ([]string, error) {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...), nil
		}
		name, values := args[i], []string(nil)
		if flag, value, ok := strings.Cut(args[i], "="); ok && strings.HasPrefix(args[i], "--") {
			name, values = flag, []string{value}
		}
		flag := lookup(cmd, name)
		if flag == nil || flag.Value.Type() != "list" {
			out = append(out, args[i])
			if flag != nil && flag.NoOptDefVal == "" && values == nil && i+1 < len(args) {
				i++ // its value, whatever it looks like
				out = append(out, args[i])
			}
			continue
		}
		for i+1 < len(args) && !looksLikeFlag(args[i+1]) {
			i++
			values = append(values, args[i])
		}
		if values == nil {
			return nil, Usage("%s needs at least one value: see %s --help", name, cmd.CommandPath())
		}
		out = append(out, name+"="+strings.Join(values, separator))
	}
	return out, nil
}

// lookup returns the flag that the argument is: --name, or -n alone.
func lookup(cmd *cobra.Command, arg string) *pflag.Flag {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		return cmd.Flag(name)
	}
	if len(arg) == 2 && arg[0] == '-' {
		cmd.InheritedFlags() // makes Flags know those of the parents
		return cmd.Flags().ShorthandLookup(arg[1:])
	}
	return nil
}

// looksLikeFlag tells a flag from a value, as az does: a value with a blank in it
// may begin with a dash.
func looksLikeFlag(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && !strings.Contains(arg, " ")
}

// choiceValue is a flag whose value is one of a few words, in any case.
type choiceValue struct {
	value   string
	allowed []string
}

// Set takes one of the allowed words.
func (c *choiceValue) Set(s string) error {
	value, err := choose(s, c.allowed)
	c.value = value
	return err
}

// String returns the value, which at first is the default that help shows.
func (c *choiceValue) String() string { return c.value }

// Type returns the word for the value in help.
func (c *choiceValue) Type() string { return strings.Join(c.allowed, "|") }

// choose returns the one of allowed that s is, in any case.
func choose(s string, allowed []string) (string, error) {
	for _, a := range allowed {
		if strings.EqualFold(s, a) {
			return a, nil
		}
	}
	return "", Usage("%q is not one of %s%s", s, strings.Join(allowed, ", "), didYouMean(s, allowed))
}

// flagError turns what the flag parser says into an error of ours.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		dashed := "--" + name
		if unknown.GetSpecifiedShortnames() != "" {
			dashed = "-" + name
		}
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		return Usage("%s has no flag %s%s: see %s --help", cmd.CommandPath(), dashed, didYouMean(dashed, known), cmd.CommandPath())
	case errors.As(err, &value):
		return Usage("--%s: %s", value.GetFlag().Name, value.Unwrap())
	case errors.As(err, &missing):
		return Usage("--%s needs a value: see %s --help", missing.GetFlag().Name, cmd.CommandPath())
	}
	return Usage("%s", err)
}

// require refuses a command line without the named flags.
func require(cmd *cobra.Command, names ...string) error {
	var missing []string
	for _, name := range names {
		f := cmd.Flag(name)
		if f.Changed && f.Value.String() != "" || f.Changed && f.Value.Type() == "list" {
			continue
		}
		dashed := "--" + f.Name
		if f.Shorthand != "" {
			dashed += "/-" + f.Shorthand
		}
		missing = append(missing, dashed)
	}
	if missing == nil {
		return nil
	}
	return Usage("%s needs %s: see %s --help", cmd.CommandPath(), strings.Join(missing, ", "), cmd.CommandPath())
}

// didYouMean returns the ending of a sentence that proposes the word of known
// nearest to word, or nothing if none is near.
func didYouMean(word string, known []string) string {
	best, nearest := max(2, len(word)/3)+1, ""
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < best {
			best, nearest = d, k
		}
	}
	if nearest == "" {
		return ""
	}
	return ", did you mean " + nearest + "?"
}

// distance is the number of letters to change, add or take away to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

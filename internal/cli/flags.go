package cli

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/spell"
)

// A list flag takes several values: --actions push delete. gather joins those of
// one occurrence, which is one call of Set.
const (
	listType = "list" // what Type returns for such a flag

	// separator joins the values on their way through the flag parser. No
	// argument of a process can hold it.
	separator = "\x00"
)

// wordList is a list flag of words from a closed set, in any case, separated by
// blanks or commas too.
type wordList struct {
	allowed  []string
	optional bool     // "" alone makes an empty list
	words    []string // as allowed has them; nil while the flag was not given
}

// Set adds words; there must be at least one, unless the list is optional.
func (l *wordList) Set(s string) error {
	if l.optional && s == "" {
		l.words = []string{}
		return nil
	}
	words, err := chooseAll(strings.Split(s, separator), l.allowed)
	l.words = append(l.words, words...)
	return err
}

// String returns nothing, which is the default that help shows.
func (l *wordList) String() string { return "" }

// Type returns the word for the value in help.
func (l *wordList) Type() string { return listType }

// pairList is a list flag of key[=value] elements. Later ones win; an empty
// element counts for nothing, so that "" alone makes an empty map.
type pairList struct {
	pairs map[string]string // nil while the flag was not given
}

// Set adds pairs.
func (l *pairList) Set(s string) error {
	if l.pairs == nil {
		l.pairs = map[string]string{}
	}
	for element := range strings.SplitSeq(s, separator) {
		key, value, _ := strings.Cut(element, "=")
		if key == "" && element != "" {
			return Usage("a value has no name before its '=': write name=value") // it may be secret
		}
		if key != "" {
			l.pairs[key] = value
		}
	}
	return nil
}

// String returns nothing, which is the default that help shows.
func (l *pairList) String() string { return "" }

// Type returns the word for the value in help.
func (l *pairList) Type() string { return listType }

// textList is a list flag of any texts. "" alone makes an empty list.
type textList struct {
	texts []string // nil while the flag was not given
}

// Set adds texts.
func (l *textList) Set(s string) error {
	if s == "" {
		l.texts = []string{}
		return nil
	}
	l.texts = append(l.texts, strings.Split(s, separator)...)
	return nil
}

// String returns nothing, which is the default that help shows.
func (l *textList) String() string { return "" }

// Type returns the word for the value in help.
func (l *textList) Type() string { return listType }

// numberList is a list flag of numbers from 1 on, separated by blanks or commas
// too.
type numberList struct{ numbers []int64 }

// Set adds numbers; there must be at least one.
func (l *numberList) Set(s string) error {
	for text := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ' ' || string(r) == separator }) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return Usage("%q is no number from 1 on", text)
		}
		l.numbers = append(l.numbers, n)
	}
	if l.numbers == nil {
		return Usage("name at least one")
	}
	return nil
}

// String returns nothing, which is the default that help shows.
func (l *numberList) String() string { return "" }

// Type returns the word for the value in help.
func (l *numberList) Type() string { return listType }

// gather joins the arguments that follow a list flag of cmd into one, up to the
// next flag, and true or false to the flag that they are the value of, as az takes
// them.
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
		if flag == nil || flag.Value.Type() != listType {
			if flag != nil && flag.Value.Type() == truthType && values == nil && i+1 < len(args) && isTruth(args[i+1]) {
				i++
				out = append(out, name+"="+args[i])
				continue
			}
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
// may begin with a dash, and so may a number.
func looksLikeFlag(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && !strings.Contains(arg, " ") && !strings.ContainsRune("0123456789.", rune(arg[1]))
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

// truth is a flag whose value is true or false, in any case; alone it is true.
type truth struct{ value *bool } // nil while the flag was not given

const truthType = "true|false" // what Type returns for such a flag

// given reports whether the flag was given, and not as false.
func (t *truth) given() bool { return t.value != nil && *t.value }

// flag adds the flag to a set.
func (t *truth) flag(flags *pflag.FlagSet, name, usage string) {
	flags.VarPF(t, name, "", usage).NoOptDefVal = "true"
}

// Set takes true or false.
func (t *truth) Set(s string) error {
	if !isTruth(s) {
		return Usage("%q is not one of true, false", s)
	}
	t.value = new(strings.EqualFold(s, "true"))
	return nil
}

// String returns nothing, which is the default that help shows.
func (t *truth) String() string { return "" }

// Type returns the word for the value in help.
func (t *truth) Type() string { return truthType }

// isTruth tells the value of a truth from an argument that only follows it.
func isTruth(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

// number is a flag whose value is a whole number.
type number[T int | int64] struct {
	value *T // nil while the flag was not given
	from  T  // the least there may be, 0 or more
}

// Set takes a number.
func (n *number[T]) Set(s string) error {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < int64(n.from) || int64(T(v)) != v {
		return Usage("%q is no whole number from %d on", s, n.from)
	}
	n.value = new(T(v))
	return nil
}

// String returns the number given; nothing at first, which is the default that
// help shows.
func (n *number[T]) String() string {
	if n.value == nil {
		return ""
	}
	return strconv.FormatInt(int64(*n.value), 10)
}

// Type returns the word for the value in help.
func (n *number[T]) Type() string { return "number" }

// get returns the number, 0 if the flag was not given.
func (n *number[T]) get() T {
	if n.value == nil {
		return 0
	}
	return *n.value
}

// unoffered is a flag that az has and that is refused, with the reason.
type unoffered struct{ reason string }

// Set refuses.
func (u *unoffered) Set(string) error { return Usage("%s", u.reason) }

// String returns nothing, which is the default that help shows.
func (u *unoffered) String() string { return "" }

// Type returns the word for the value in help.
func (u *unoffered) Type() string { return "text" }

// choose returns the one of allowed that s is, in any case.
func choose(s string, allowed []string) (string, error) {
	for _, a := range allowed {
		if strings.EqualFold(s, a) {
			return a, nil
		}
	}
	return "", Usage("%q is not one of %s%s", s, strings.Join(allowed, ", "), didYouMean(s, allowed))
}

// chooseAll returns those of allowed that the texts name; there must be one.
func chooseAll(texts, allowed []string) ([]string, error) {
	var chosen []string
	for _, word := range strings.FieldsFunc(strings.Join(texts, " "), func(r rune) bool { return r == ',' || r == ' ' }) {
		c, err := choose(word, allowed)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, c)
	}
	if chosen == nil {
		return nil, Usage("choose at least one of %s", strings.Join(allowed, ", "))
	}
	return chosen, nil
}

// alias has a set of flags know some by other names, too.
func alias(flags *pflag.FlagSet, names map[string]string) {
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(firstOf(names[name], name))
	})
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
		if f.Changed && f.Value.String() != "" || f.Changed && f.Value.Type() == listType {
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
		if d := spell.Distance(strings.ToLower(word), strings.ToLower(k)); d < best {
			best, nearest = d, k
		}
	}
	if nearest == "" {
		return ""
	}
	return ", did you mean " + nearest + "?"
}

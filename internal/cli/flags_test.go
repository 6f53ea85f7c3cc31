package cli

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// rawList is a list flag that keeps its values.
type rawList struct {
	wordList // String and Type
	values   []string
}

func (l *rawList) Set(s string) error {
	l.values = append(l.values, strings.Split(s, separator)...)
	return nil
}

// listCommand has flags of every kind that gather tells apart.
func listCommand() (cmd *cobra.Command, actions, headers *rawList) {
	actions, headers = new(rawList), new(rawList)
	parent := &cobra.Command{Use: "dockbell"}
	cmd = &cobra.Command{Use: "create", Run: func(*cobra.Command, []string) {}}
	parent.AddCommand(cmd)
	parent.PersistentFlags().StringP("server", "s", "", "")
	cmd.Flags().Var(actions, "actions", "")
	cmd.Flags().Var(headers, "headers", "")
	cmd.Flags().StringP("name", "n", "", "")
	cmd.Flags().Bool("force", false, "")
	new(truth).flag(cmd.Flags(), "enabled", "")
	return cmd, actions, headers
}

func TestGather(t *testing.T) {
	t.Parallel()
	const nothing = "\x01" // the flag was not given
	for _, tt := range []struct {
		args             string // separated by |
		actions, headers string // values, separated by |
		rest             string // what is left for the parser beside the lists
	}{
		{"--actions|push|delete", "push|delete", nothing, ""},
		{"--actions|push|delete|-n|hook", "push|delete", nothing, "-n|hook"},
		{"-n|hook|--actions|push|--force|--headers|A=1|B=2", "push", "A=1|B=2", "-n|hook|--force"},
		{"--actions=push|delete", "push|delete", nothing, ""},
		{"--actions=push,delete", "push,delete", nothing, ""},
		{"--actions|push delete", "push delete", nothing, ""},
		{"--actions|push|--actions|delete", "push|delete", nothing, ""},
		{"--headers|Authorization=Bearer a=b|X-Env=prod", nothing, "Authorization=Bearer a=b|X-Env=prod", ""},
		{"--headers|", nothing, "", ""},
		{"--headers=", nothing, "", ""},
		{"--headers|-x y=1", nothing, "-x y=1", ""}, // a blank in it: a value
		{"--headers|-", nothing, "-", ""},
		{"-n|--actions|push", nothing, nothing, "-n|--actions|push"}, // the value of -n
		{"--name|--actions|--actions|push", "push", nothing, "--name|--actions"},
		{"-s|--actions|--actions|push", "push", nothing, "-s|--actions"}, // a parent's flag
		{"--name=x|--actions|push", "push", nothing, "--name=x"},
		{"--|--actions|push", nothing, nothing, "--|--actions|push"},
		{"--unknown|x|--actions|push", "push", nothing, "--unknown|x"},
		{"--enabled|true|--actions|push", "push", nothing, "--enabled=true"},
		{"--enabled|FALSE", nothing, nothing, "--enabled=FALSE"},
		{"--enabled|-n|hook", nothing, nothing, "--enabled|-n|hook"}, // alone it is true
		{"--enabled", nothing, nothing, "--enabled"},
		{"--enabled|maybe", nothing, nothing, "--enabled|maybe"}, // belongs to no flag
		{"--enabled=false|true", nothing, nothing, "--enabled=false|true"},
		{"--force|true", nothing, nothing, "--force|true"}, // of az's kind that takes no value
	} {
		cmd, actions, headers := listCommand()
		args, err := gather(cmd, strings.Split(tt.args, "|"))
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		var rest []string
		for _, arg := range args {
			if v, ok := strings.CutPrefix(arg, "--actions="); ok {
				actions.Set(v)
			} else if v, ok := strings.CutPrefix(arg, "--headers="); ok {
				headers.Set(v)
			} else {
				rest = append(rest, arg)
			}
		}
		got := func(l *rawList) string {
			if l.values == nil {
				return nothing
			}
			return strings.Join(l.values, "|")
		}
		if got(actions) != tt.actions || got(headers) != tt.headers || strings.Join(rest, "|") != tt.rest {
			t.Errorf("%s:\n got actions %q, headers %q, rest %q\nwant actions %q, headers %q, rest %q", tt.args,
				got(actions), got(headers), strings.Join(rest, "|"), tt.actions, tt.headers, tt.rest)
		}
	}
}

func TestGatherRefusesAListWithoutValues(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--actions", "--actions|--name|x", "-n|x|--actions|-s|y"} {
		cmd, _, _ := listCommand()
		_, err := gather(cmd, strings.Split(args, "|"))
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--actions needs at least one value") {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestWordList(t *testing.T) {
	t.Parallel()
	for _, occurrences := range [][]string{
		{"push\x00delete"},
		{"push", "delete"},
		{"push,delete"},
		{"push delete"},
		{" PUSH , Delete \x00"},
	} {
		l := wordList{allowed: webhookActions}
		for _, o := range occurrences {
			if err := l.Set(o); err != nil {
				t.Errorf("%q: %v", occurrences, err)
			}
		}
		if !slices.Equal(l.words, []string{"push", "delete"}) {
			t.Errorf("%q: %q", occurrences, l.words)
		}
	}
	for _, occurrence := range []string{"", " ", ",", "push\x00pul"} {
		l := wordList{allowed: webhookActions}
		if err := l.Set(occurrence); err == nil {
			t.Errorf("%q is taken as %q", occurrence, l.words)
		}
	}
}

func TestPairList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		occurrences []string
		want        map[string]string
	}{
		{nil, nil},
		{[]string{""}, map[string]string{}},
		{[]string{"Authorization=Bearer a=b\x00X-Empty"}, map[string]string{"Authorization": "Bearer a=b", "X-Empty": ""}},
		{[]string{"a=1\x00a=2"}, map[string]string{"a": "2"}},
		{[]string{"a=1", "b=2, c d"}, map[string]string{"a": "1", "b": "2, c d"}},
		{[]string{"a="}, map[string]string{"a": ""}},
	} {
		var l pairList
		for _, o := range tt.occurrences {
			if err := l.Set(o); err != nil {
				t.Errorf("%q: %v", tt.occurrences, err)
			}
		}
		if !maps.Equal(l.pairs, tt.want) || (l.pairs == nil) != (tt.want == nil) {
			t.Errorf("%q: %v, want %v", tt.occurrences, l.pairs, tt.want)
		}
	}
	if err := new(pairList).Set("=x"); err == nil {
		t.Error("a pair without a name is taken")
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"psuh":      ", did you mean push?",
		"PUSH_":     ", did you mean push?",
		"chartpush": ", did you mean chart_push?",
		"pul":       ", did you mean pull?",
		"enabled":   "",
		"":          "",
	} {
		if got := didYouMean(word, webhookActions); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestParseServer(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://localhost:5000":          "http://localhost:5000",
		"http://localhost:5000/":         "http://localhost:5000",
		"HTTPS://Registry.Example":       "https://registry.example",
		"localhost:5000":                 "http://localhost:5000",
		"127.0.0.1:5000":                 "http://127.0.0.1:5000",
		"[::1]:5000":                     "http://[::1]:5000",
		"dockbell.localhost":             "http://dockbell.localhost",
		"registry.example:8443":          "https://registry.example:8443",
		"10.0.0.7:5000":                  "https://10.0.0.7:5000",
		"":                               "",
		"ftp://localhost":                "",
		"http://":                        "",
		"http://localhost:5000/v2/":      "",
		"http://localhost:5000?x":        "",
		"http://user:secret@localhost":   "",
		"http://local host":              "",
		"dockbell.localhost:5000/portal": "",
	} {
		u, err := parseServer(in)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("parseServer(%q) = %q, %v; want %q", in, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("parseServer(%q) tells the password: %v", in, err)
		}
	}
}

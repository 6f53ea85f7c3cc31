package portal

// editForm is what people fill in. What they typed is in it again when something of it
// was wrong.
type editForm struct {
	Action  string // where it goes
	Check   string // where a script asks what is wrong; empty: nowhere
	Problem string // what is wrong with it as a whole
	Groups  []editGroup
	Submit  string
	Cancel  string // address
}

// editGroup is fields that belong together.
type editGroup struct {
	Title  string // empty: they stand by themselves
	Folded bool   // few people need them
	Fields []editField
}

// editField is one of a form.
type editField struct {
	Name, Label, Help string
	Kind              string // text, number, area, select, checks, check or fixed
	Value             string
	Choices           []editChoice
	Placeholder       string
	Wrong             string // what is wrong with it
	Required          bool
}

// editChoice is one of a select or of checks.
type editChoice struct {
	Value, Text string
	Group       string // a heading, where it is not the one of the choice before
	Chosen      bool
}

// mark puts what is wrong beside the fields, and opens the groups that hold them.
func (f *editForm) mark(wrong map[string]string) {
	for i := range f.Groups {
		g := &f.Groups[i]
		for j := range g.Fields {
			if text := wrong[g.Fields[j].Name]; text != "" {
				g.Fields[j].Wrong, g.Folded = text, false
			}
		}
	}
}

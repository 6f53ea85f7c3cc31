package webhook

import (
	"context"
	"iter"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Member is a part of a definition that has rules of its own.
type Member string

// The members.
const (
	MemberName       Member = "name"
	MemberLocation   Member = "location"
	MemberTags       Member = "tags"
	MemberServiceURI Member = "serviceUri"
	MemberHeaders    Member = "customHeaders"
	MemberStatus     Member = "status"
	MemberScope      Member = "scope"
	MemberActions    Member = "actions"
	MemberPolicy     Member = "retryPolicy"
	MemberStyles     Member = "signatureHeaders"
	MemberTLS        Member = "tls"
	MemberFormat     Member = "format"
	MemberHandshake  Member = "handshake"
	MemberTypePrefix Member = "eventTypePrefix"
)

// Problem is a rule that a definition breaks.
type Problem struct {
	Member Member // empty: it is of the webhook as a whole, such as a quota
	Err    error  // what Put or Patch would fail with
}

// Validation is what Put or Patch would come to.
type Validation struct {
	Problems []Problem // none: it would be done

	// Wants reports whether the webhook, enabled, would want an event; nil if its
	// scope or its actions break a rule.
	Wants func(*event.Event) bool
}

// memberRule is the rule of a member.
type memberRule struct {
	member Member
	check  func() error
}

// problems yields those of the rules that are broken, in their order.
func problems(rules ...memberRule) iter.Seq[Problem] {
	return func(yield func(Problem) bool) {
		for _, r := range rules {
			if err := r.check(); err != nil && !yield(Problem{r.member, err}) {
				return
			}
		}
	}
}

// ValidatePut checks what Put would check, each rule of it, and changes nothing: no
// address is asked for consent either. What someone else does in between can still
// refuse the Put. It fails only for what is no fault of the definition.
func (s *Store) ValidatePut(ctx context.Context, reg Registry, name string, def Definition) (v Validation, err error) {
	change := def.asChange()
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		v = Validation{}
		v.add(MemberName, checkName(name))
		v.addAll(change.problems(s.CheckURL))
		old, err := s.find(tx, reg, name)
		if fault.Is(err, fault.NotFound) {
			return s.validateNew(tx, reg, name, def, &v)
		}
		if err != nil {
			return err
		}
		v.add(MemberServiceURI, change.checkFor(old))
		v.add(MemberLocation, checkMove(old, def.Location))
		v.conclude(change.of(old))
		return nil
	})
	return v, err
}

// ValidatePatch is ValidatePut for Patch. It fails with fault.NotFound
// (ResourceNotFound) if there is no such webhook.
func (s *Store) ValidatePatch(ctx context.Context, reg Registry, name string, change Change) (v Validation, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		v = Validation{}
		old, err := s.find(tx, reg, name)
		if err != nil {
			return err
		}
		v.addAll(change.problems(s.CheckURL))
		v.add(MemberServiceURI, change.checkFor(old))
		v.conclude(change.of(old))
		return nil
	})
	return v, err
}

// validateNew checks what createNamed does.
func (s *Store) validateNew(tx *sqldb.Tx, reg Registry, name string, def Definition, v *Validation) error {
	_, err := place(reg, def.Location)
	v.add(MemberLocation, err)
	v.add(MemberServiceURI, checkAddressed(def))
	have, err := countWebhooks(tx, reg.ID, false)
	if err != nil {
		return err
	}
	v.add("", checkQuota(reg, have))
	r := record{Webhook: Webhook{Name: name}}
	def.asChange().apply(&r)
	v.conclude(r)
	return nil
}

func (v *Validation) add(m Member, err error) {
	if err != nil {
		v.Problems = append(v.Problems, Problem{m, err})
	}
}

func (v *Validation) addAll(found iter.Seq[Problem]) {
	for p := range found {
		v.Problems = append(v.Problems, p)
	}
}

// conclude checks the webhook as it would be, and which events it would want. Rules
// about several members say nothing of use while one of them is wrong by itself.
func (v *Validation) conclude(r record) {
	if rule, err := newRule(Enabled, r.Scope, r.Actions); err == nil {
		v.Wants = func(e *event.Event) bool { return rule.wants(e, r.ID) }
	}
	if len(v.Problems) == 0 {
		v.addAll(r.problems())
	}
}

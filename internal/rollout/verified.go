package rollout

import "github.com/aoifleet/aoifleet/internal/host"

// ToVerify are the hosts whose certificate Azure is to be asked about, by their
// place in the plan: those that are to be changed and whose inventory wants it.
func (p *Plan) ToVerify() []int {
	var list []int
	for _, i := range p.due() {
		if p.Entries[i].Host.VerifyEntra {
			list = append(list, i)
		}
	}
	return list
}

// SkipVerify notes that nobody is asked.
func (p *Plan) SkipVerify() {
	for _, i := range p.ToVerify() {
		p.Entries[i].Verified = new(bool)
	}
}

// Verify puts in what was said about the certificates of some hosts, by their
// place in the plan; nil is yes. Where one is not accepted nothing is to be done on
// any host: the others would be restarted for a certificate that somebody has
// yet to look after.
func (p *Plan) Verify(answers map[int]*host.Problem) {
	for i, problem := range answers {
		e := &p.Entries[i]
		accepted := problem == nil
		e.Verified = &accepted
		if accepted {
			continue
		}
		p.Unaccepted = true
		outcome, problem := failedLook(problem)
		*e = e.stop(outcome, problem)
	}
	if p.Unaccepted {
		p.leave("not begun: the certificate of other hosts is not accepted")
	}
}

// leave lets every host be that is to be changed.
func (p *Plan) leave(why string) {
	for _, i := range p.due() {
		p.Entries[i].Outcome, p.Entries[i].Reason = Skipped, why
	}
	for i := range p.Entries {
		p.Entries[i].Wave = 0
	}
	p.Waves = nil
}

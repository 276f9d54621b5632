package newcert

import (
	"fmt"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Pack takes the certificates of the items from an authority's answers: each by the public
// key of the item's key file, which a Set of requests has written. It writes nothing. The
// error is a problem of class certificate that names every item without one.
func (s *Set) Pack(answers *certificate.Answers, now time.Time) error {
	var failed []string
	hint := ""
	for _, i := range s.Items {
		err := i.pack(answers, now)
		if err == nil {
			continue
		}
		if failed = append(failed, i.Name+": "+err.Error()); hint == "" {
			hint = problem.As(err).Hint
		}
	}
	if failed == nil {
		return nil
	}
	if len(failed) > shownPlaces {
		failed = append(failed[:shownPlaces], fmt.Sprintf("and %d more", len(failed)-shownPlaces))
	}
	for n, why := range answers.Unread {
		if n == shownPlaces {
			failed = append(failed, fmt.Sprintf("and %d more files", len(answers.Unread)-n))
			break
		}
		failed = append(failed, "not read: "+why)
	}
	return &problem.Error{Class: problem.Certificate, Message: strings.Join(failed, "\n"), Hint: hint}
}

func (i *Item) pack(answers *certificate.Answers, now time.Time) error {
	path := i.stem() + ".key"
	key, err := localfile.Read(path, certificate.MaxSize)
	if err != nil {
		return problem.New(problem.Certificate, "its key is made with: aoifleet certificate new --csr --per-host -i INVENTORY", "%s can't be read: %s", path, localfile.Reason(err))
	}
	i.Certificate, i.public, err = answers.Pack(key, now)
	return err
}

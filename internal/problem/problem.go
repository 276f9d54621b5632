// Package problem defines the error type of this program: a class, a message and a hint.
// It also lists all classes and the exit code of each.
package problem

import (
	"errors"
	"fmt"
)

// Error is an error with a class and a hint. It contains no secret and no control
// character. Its JSON form is part of the contract (docs/reference.md).
type Error struct {
	Class   Class  `json:"class"`
	Message string `json:"message"`        // short, lower case, no full stop
	Hint    string `json:"hint,omitempty"` // the next step; "" if it is obvious
	Err     error  `json:"-"`              // the cause, for errors.Is and errors.As; or nil
}

// Base is the name under which other error types embed Error: an embedded field named
// Error would hide the method.
type Base = Error

// New returns an Error without a cause. The message is formatted as by fmt.Sprintf.
func New(class Class, hint, format string, args ...any) *Error {
	return &Error{Class: class, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// As returns the first Error in the chain of err, nil if there is none.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Is reports whether the first Error in the chain of err has the class.
func Is(err error, class Class) bool {
	e := As(err)
	return e != nil && e.Class == class
}

// Command mutate proves that tests can fail. It breaks the product on purpose, one rule at a time, and fails if a test
// that guards the rule does not notice.
//
// A mutation is a patch in test/mutations with a header that says what breaks and which tests must fail with it. Each is
// applied to a copy of the tree, so that neither the tree nor work that is not committed is touched. A mutation counts
// as caught if the tests that it names pass without it, and each of them runs and fails with it: not if nothing compiles
// any more, and not if the test panics.
package main

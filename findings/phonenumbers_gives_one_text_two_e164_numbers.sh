#!/usr/bin/env bash
# An upgrade of phonenumbers gives the same text another E.164 number, and not the old one's equal.
#
# What a good engineer expects: whether a number is valid changes with the numbering plans, so that
# is_valid_number() may change with the metadata. E.164 is the identity of a number: once parsed and
# stored, it is a key to join and to find by, and a text that is parsed again gives the same.
#
# What happens: up to 8.13.37 "+52 1 55 …", the way that Mexican mobile numbers were dialled from
# abroad and that WhatsApp and many address books still write, is parsed to +52 55 …, as the 1 is no
# part of the number. Since 8.13.38, released as a patch, the 1 is kept: the same text is another,
# invalid number. The two are not an exact match either (is_number_match() says SHORT_NSN_MATCH), so
# no unique constraint sees that one person is there twice, and a search or an erasure by the new
# reading misses the rows of the old one.
#
# Whom it hurts: those who store E.164 as a key, deduplicate by it or honour "stop calling me"
# lists, and upgrade the library, or have two services with different releases of libphonenumber.
#
# What helps: keep the text that was given beside the E.164 number, compare before an upgrade (parse
# all stored texts with both releases), and take away the 1 of Mexico before parsing, in all services.
#
# Seen with: phonenumberslite 8.13.37, 8.13.38 and 9.0.42. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

cat > "$folder/parse.py" <<'PYTHON'
import re
import sys

from phonenumbers import MatchType, PhoneNumberFormat, format_number, is_number_match, is_valid_number, parse

GIVEN = "+52 1 55 1234 5678"
STORED = "+525512345678"  # what 8.13.37 makes of it

text = GIVEN
if sys.argv[1] == "without the 1":
    text = re.sub(r"^\+521(?=\d{10}$)", "+52", re.sub(r"[^+\d]", "", text))
number = parse(text, None)
print(
    format_number(number, PhoneNumberFormat.E164),
    "valid" if is_valid_number(number) else "invalid",
    next(name for name, value in vars(MatchType).items() if value == is_number_match(number, STORED)),
)
PYTHON

expect() {
  printf '%-8s %-14s %s\n' "$1" "$2" "$3"
  [ "$3" = "$4" ] || { echo "this has changed; expected: $4"; exit 1; }
}
check() { expect "$1" "$2" "$("$folder/venv/bin/python" "$folder/parse.py" "$2")" "$3"; }

for version in 8.13.37 8.13.38 9.0.42; do
  "$folder/venv/bin/pip" install --quiet "phonenumberslite==$version"
  case $version in
    8.13.37) check "$version" "as given" "+525512345678 valid EXACT_MATCH" ;;
    *) check "$version" "as given" "+5215512345678 invalid SHORT_NSN_MATCH" ;;
  esac
  check "$version" "without the 1" "+525512345678 valid EXACT_MATCH"
done

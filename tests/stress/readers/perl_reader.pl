# Reads a mirror with DBI: perl perl_reader.pl DATABASE
#
# It is called as docs/sql.md says. tests/support/reader_programs.py has the protocol.
use v5.36;
use builtin qw(created_as_number);
no warnings 'experimental::builtin';
use DBD::SQLite::Constants qw(:file_open :dbd_sqlite_string_mode);
use DBI;
use JSON::PP;

my $json = JSON::PP->new->utf8->allow_nonref;
my $place = $json->decode($ARGV[0]);
my $db;
if ($place->{file}) {
    my %flags = (
        sqlite_open_flags  => SQLITE_OPEN_READONLY,
        sqlite_string_mode => DBD_SQLITE_STRING_MODE_UNICODE_STRICT,
    );
    $db = DBI->connect("dbi:SQLite:dbname=$place->{file}", '', '', {RaiseError => 1, PrintError => 0, %flags});
} else {
    my $server = "host=$place->{host};port=$place->{port};dbname=$place->{database}";
    $db = DBI->connect("dbi:Pg:$server", $place->{user}, '', {RaiseError => 1, PrintError => 0});
    $db->do("SET TimeZone TO 'UTC'");
}

sub rows ($step) {
    my $rows = $db->selectall_arrayref($step->{sql}, {Slice => {}}, @{$step->{values}});
    for my $row (@$rows) {
        # JSON::PP writes 15 digits of a number.
        $_ = sprintf '%.17g', $_ for grep { created_as_number($_) && $_ != int } values %$row;
        for my $name (grep { defined $row->{$_} } @{$step->{times}}) {
            # Postgres leaves out zeros at the end, and appends the offset of the session.
            my ($second, $fraction) = $row->{$name} =~ /^([\d-]+ [\d:]+)(?:\.(\d+))?(?:\+00)?$/;
            $row->{$name} = "$second." . substr(($fraction // '') . '000', 0, 3);
        }
    }
    return $rows;
}

$| = 1;
while (my $line = <STDIN>) {
    my $step = $json->decode($line);
    my $answer = eval {
        $db->do($place->{file} ? 'BEGIN' : 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY') if $step->{begin};
        {rows => rows($step)};
    } // {error => $@};
    say $json->encode($answer);
}

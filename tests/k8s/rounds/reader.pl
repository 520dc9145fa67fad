# What an application does with a volume, all the while something is killed: reader.pl FOLDER REPORT FILES.
#
# Every file has 64-bit words: its number and the word's place in it, so that any piece can be checked by itself. Four
# processes read, until REPORT/stop is there: `held` from files opened at the start, `open` from files opened anew each
# time, `whole` files from front to back, `list` the folder. Each writes to REPORT/NAME, every second and at its end:
# operations, the longest in milliseconds, when that ended; and to REPORT/errors whatever was no right answer.
use strict;
use warnings;
use Fcntl;
use POSIX qw(_exit);

# In seconds; the image has no Time::HiRes.
my $TICKS = POSIX::sysconf(POSIX::_SC_CLK_TCK());
sub now { (POSIX::times())[0] / $TICKS }

my ($folder, $report, $files) = @ARGV;
my $PIECE = 64 << 10;

sub wrong {
    my ($who, $what) = @_;
    sysopen(my $errors, "$report/errors", O_WRONLY | O_APPEND | O_CREAT) or die;
    syswrite($errors, sprintf("%s %s: %s\n", POSIX::strftime("%H:%M:%S", gmtime), $who, $what));
}

sub path { sprintf("%s/file-%02d", $folder, $_[0]) }

# A piece of file number $_[0] that begins at byte $_[1].
sub expected {
    my ($number, $from, $length) = @_;
    my $first = $from / 8;
    return pack("Q>*", map { ($number << 40) | $_ } $first .. $first + $length / 8 - 1);
}

sub check {
    my ($who, $number, $handle, $from) = @_;
    my $bytes;
    sysseek($handle, $from, 0) or return wrong($who, "seek in file $number: $!");
    my $length = sysread($handle, $bytes, $PIECE);
    return wrong($who, "read file $number at $from: $!") unless defined $length;
    return wrong($who, "file $number at $from has $length bytes") unless $length == $PIECE;
    wrong($who, "file $number at $from has other bytes") unless $bytes eq expected($number, $from, $PIECE);
}

sub run {
    my ($who, $work) = @_;
    return if fork;
    my ($count, $longest, $when, $told) = (0, 0, "", 0);
    srand($$);
    while (1) {
        my $began = now();
        $work->();
        my $now = now();
        $count++;
        if ($now - $began > $longest) {
            ($longest, $when) = ($now - $began, POSIX::strftime("%H:%M:%S", gmtime));
        }
        my $stop = -e "$report/stop";
        if ($stop || $now - $told >= 1) {
            open(my $out, ">", "$report/$who.part") or die;
            printf $out "%d %d %s\n", $count, $longest * 1000, $when;
            close $out;
            rename "$report/$who.part", "$report/$who";
            $told = $now;
        }
        _exit(0) if $stop;
        select(undef, undef, undef, 0.02);
    }
}

my $size = -s path(0);
my $pieces = int($size / $PIECE);
my @held = map { my $n = $_; sysopen(my $h, path($n), O_RDONLY) or die "open file $n: $!"; $h } 0 .. $files - 1;

run("held", sub {
    my $number = int rand $files;
    check("held", $number, $held[$number], $PIECE * int rand $pieces);
});
run("open", sub {
    my $number = int rand $files;
    sysopen(my $handle, path($number), O_RDONLY) or return wrong("open", "open file $number: $!");
    check("open", $number, $handle, $PIECE * int rand $pieces);
});
my $next = 0;
run("whole", sub {
    my $number = $next++ % $files;
    sysopen(my $handle, path($number), O_RDONLY) or return wrong("whole", "open file $number: $!");
    check("whole", $number, $handle, $PIECE * $_) for 0 .. $pieces - 1;
});
run("list", sub {
    opendir(my $names, $folder) or return wrong("list", "open the folder: $!");
    $! = 0;
    my $found = join " ", sort grep { /^file/ } readdir $names;
    return wrong("list", "list the folder: $!") if $!;
    my $all = join " ", map { sprintf "file-%02d", $_ } 0 .. $files - 1;
    wrong("list", "the folder has: $found") unless $found eq $all;
});
open(my $ready, ">", "$report/ready") or die;
# What it opened is closed when the last of its readers ends.
@held = ();
1 while wait > 0;
open(my $ended, ">", "$report/ended") or die;
# What was reported can be looked at.
sleep;

"""Sound and video in and out, envelopes, and the Greatest Hits data set; imports none of the other packages."""

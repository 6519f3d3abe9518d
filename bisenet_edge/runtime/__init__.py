"""What a device executes: numpy, OpenCV and one inference engine; never torch. Python 3.8 clean."""

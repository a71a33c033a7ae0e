package javax.annotation;

/** What generated sources are marked with: no JDK has it any more. */
public @interface Generated {
    String[] value();

    String comments() default "";
}
